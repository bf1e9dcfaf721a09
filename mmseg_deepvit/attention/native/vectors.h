// Vectors of LANES floats in the compiler's vector extensions, and what is done to them.
//
// Included once for each instruction set, inside a namespace of its own.

#define INLINE inline __attribute__((always_inline))

typedef float Floats __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), may_alias));
typedef uint32_t Words __attribute__((vector_size(4 * LANES), may_alias));

static INLINE Floats load(const float* x) { return *(const Floats*)x; }
static INLINE void store(float* x, Floats value) { *(Floats*)x = value; }
static INLINE Floats all(float x) { return x - Floats{}; }

static INLINE Ints iota() {
  Ints x;
  for (int i = 0; i < LANES; ++i) x[i] = i;
  return x;
}

static INLINE float sum_of(Floats x) {
  // Halves are added, so that rounding grows with the logarithm of the number of lanes.
  float lanes[LANES];
  __builtin_memcpy(lanes, &x, sizeof x);
  for (int n = LANES / 2; n; n /= 2)
    for (int i = 0; i < n; ++i) lanes[i] += lanes[i + n];
  return lanes[0];
}

static INLINE float max_of(Floats x) {
  float most = x[0];
  for (int i = 1; i < LANES; ++i) most = x[i] > most ? x[i] : most;
  return most;
}

static INLINE Floats larger(Floats a, Floats b) { return a > b ? a : b; }

// 2^x within 2e-9 but for rounding; 0 below 2^-126; NaN of NaN. x is at most 126.
static INLINE Floats exp2_of(Floats x) {
  const float shift = 12582912.0f;  // 1.5 · 2^23: adding it rounds to integers
  const Ints normal = x < -126.0f;
  const Floats shifted = x + shift;
  const Floats r = x - (shifted - shift);
  Floats p = all(1.5345811614e-4f);
  p = p * r + 1.3399931217e-3f;
  p = p * r + 9.6184889586e-3f;
  p = p * r + 5.5503287770e-2f;
  p = p * r + 2.4022646891e-1f;
  p = p * r + 6.9314720574e-1f;
  p = p * r + 1.0f;
  const Ints exponent = (Ints)shifted << 23;
  return (Floats)(~normal & ((Ints)p + exponent));
}

// A well-mixed word from each word (the finaliser "lowbias32" of Chris Wellons' hash-prospector).
static INLINE Words hash_of(Words x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}
