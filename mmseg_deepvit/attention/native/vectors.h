// Vectors of LANES floats in the compiler's vector extensions, and what is done to them.
//
// Included once for each instruction set, inside a namespace of its own.

#define INLINE inline __attribute__((always_inline))

typedef float Floats __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), may_alias));
typedef uint32_t Words __attribute__((vector_size(4 * LANES), may_alias));

typedef float Anywhere __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));

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

// e^x within 1e-8 but for rounding; 0 where the result is below 2^-126; NaN of NaN. x is at most 87.
static INLINE Floats exp_of(Floats x) {
  const float shift = 12582912.0f;  // 1.5 · 2^23: adding it rounds to integers
  const Ints tiny = x < -87.3f;
  const Floats shifted = x * 1.442695041f + shift;
  const Floats n = shifted - shift;
  const Floats r = x - n * 0.6931471806f;
  Floats p = all(1.381453999e-03f);
  p = p * r + 8.368745116e-03f;
  p = p * r + 4.166839079e-02f;
  p = p * r + 1.666652040e-01f;
  p = p * r + 4.999999343e-01f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Words exponent = (Words)shifted << 23;
  return (Floats)(~(Words)tiny & ((Words)p + exponent));
}

// Factors of products over columns, rows or keys. With PAIRS a word holds two neighbouring ones in
// bfloat16, rounded to the nearest; else it is a float.
#if PAIRS
constexpr int TERMS = 2;  // of a word

// sum + a b, of both terms.
static INLINE Floats add_product(Floats sum, Floats a, Floats b) {
  return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
static INLINE Floats spread(const float* word) {
  return (Floats)((Words){} + bits_of_float(*word));
}
// Words of the terms of x and then of y: (x0, x1), (x2, x3), …
static INLINE Floats neighbours(Floats x, Floats y) {
  return (Floats)_mm512_cvtne2ps_pbh((__m512)y, (__m512)x);
}
// Words (x0, y0), (x1, y1), …
static INLINE Floats both(Floats x, Floats y) {
  const Words first = (Words)iota(), order = first | (first + LANES) << 16;
  return (Floats)_mm512_permutexvar_epi16((__m512i)order, (__m512i)neighbours(x, y));
}
// Sums of the squares of a word's terms.
static INLINE Floats squares(Floats words) {
  const Floats first = (Floats)((Words)words << 16), second = (Floats)((Words)words & 0xffff0000u);
  return first * first + second * second;
}
static INLINE float square_of(float word) {
  const uint32_t bits = bits_of_float(word);
  const float first = float_of_bits(bits << 16), second = float_of_bits(bits & 0xffff0000u);
  return first * first + second * second;
}
#else
constexpr int TERMS = 1;

static INLINE Floats add_product(Floats sum, Floats a, Floats b) { return sum + a * b; }
static INLINE Floats spread(const float* word) { return all(*word); }
static INLINE Floats neighbours(Floats x, Floats) { return x; }
static INLINE Floats both(Floats x, Floats) { return x; }
static INLINE Floats squares(Floats x) { return x * x; }
static INLINE float square_of(float x) { return x * x; }
#endif

// Words that hold so many terms.
constexpr int words(int terms) { return (terms + TERMS - 1) / TERMS; }

// Terms of a row as words of neighbours, in the buffer, or where they are if words are floats.
static INLINE const float* in_words(const float* row, int count, float* buffer) {
  if (TERMS == 1) return row;
  for (int i = 0; i < count; i += 2 * LANES) {
    const Floats next = i + LANES < count ? load(row + i + LANES) : Floats{};
    store(buffer + i / 2, neighbours(load(row + i), next));
  }
  return buffer;
}

// Row i into rows whose words hold terms of neighbouring rows; rows come in order.
static INLINE void put_row(const float* row, int count, int i, float* rows) {
  float* to = rows + i / TERMS * count;
  if (i % TERMS == 0) {
    for (int c = 0; c < count; c += LANES) store(to + c, both(load(row + c), Floats{}));
  } else {
    for (int c = 0; c < count; c += LANES)
      store(to + c, (Floats)((Words)load(to + c) | (Words)both(Floats{}, load(row + c))));
  }
}

// A well-mixed word from each word (the finaliser "lowbias32" of Chris Wellons' hash-prospector).
static INLINE Words hash_of(Words x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}
