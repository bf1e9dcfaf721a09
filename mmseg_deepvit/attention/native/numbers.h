// Numbers of 16 bits to floats and back, and words that are drawn for places.
#pragma once
#include <cstdint>
#include <cstring>

inline float float_of_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

inline uint32_t bits_of_float(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float float_of_bfloat(uint16_t bits) { return float_of_bits(uint32_t(bits) << 16); }

// Rounds to the nearest, ties to even; NaN stays NaN.
inline uint16_t bfloat_of_float(float x) {
  const uint32_t bits = bits_of_float(x);
  if (x != x) return uint16_t(bits >> 16 | 0x40);
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float float_of_half(uint16_t bits) {
  const uint32_t sign = uint32_t(bits & 0x8000) << 16, rest = bits & 0x7fff;
  if (rest >= 0x7c00) return float_of_bits(sign | 0x7f800000 | (rest & 0x3ff) << 13);
  // Numbers below 2^-14 have no leading one; the product with 2^112 is exact for all.
  const float x = float_of_bits(rest << 13) * float_of_bits(0x77800000);
  return float_of_bits(sign | bits_of_float(x));
}

// Rounds to the nearest, ties to even; too large is infinite.
inline uint16_t half_of_float(float x) {
  const uint32_t bits = bits_of_float(x);
  const uint16_t sign = uint16_t(bits >> 16 & 0x8000);
  const uint32_t rest = bits & 0x7fffffff;
  if (rest > 0x7f800000) return sign | 0x7e00;
  if (rest >= 0x477ff000) return sign | 0x7c00;
  if (rest < 0x38800000) {  // adding 0.5 rounds to multiples of 2^-24
    return sign | uint16_t(bits_of_float(float_of_bits(rest) + 0.5f) - 0x3f000000);
  }
  const uint32_t rounded = rest + 0xfff + (rest >> 13 & 1);
  return sign | uint16_t((rounded - 0x38000000) >> 13);
}

// A word for each place of a call with this seed (SplitMix64, Steele, Lea and Flood 2014).
inline uint32_t word_of(uint64_t seed, uint64_t place) {
  uint64_t x = seed + (place + 1) * 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return uint32_t((x ^ x >> 31) >> 32);
}
