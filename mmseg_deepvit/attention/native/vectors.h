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
static INLINE void copy_vectors(const float* from, int count, float* to) {
  for (int i = 0; i < count; i += LANES) store(to + i, load(from + i));
}
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

// A well-mixed word from each word (the finaliser "lowbias32" of Chris Wellons' hash-prospector).
static INLINE Words hash_of(Words x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}
