// Products of tiles of attention maps, with everything that is summed up held in registers. Sums
// over columns, keys or rows take words, of one term or two (vectors.h).
//
// A tile has R query rows by a panel of PANEL keys; all heads' tiles of a panel are contiguous:
// [head][row][key]. Included once for each instruction set, inside a namespace of its own.

constexpr int PANEL = 2 * LANES;
// Sums that fit in the registers beside their factors.
constexpr int SUMS = REGISTERS >= 32 ? 24 : 12;
constexpr int MOST_ROWS = SUMS / 2, LEAST_ROWS = REGISTERS >= 32 ? 8 : 4;
constexpr int MIXED_HEADS = SUMS / 2;  // of one step of a mix
constexpr int COLUMNS = REGISTERS >= 32 ? 8 : 4;  // of one step of an outer product
constexpr int PAIRED_HEADS = REGISTERS >= 32 ? 4 : 3;
constexpr int MOST_TILES = 4;  // of a block of rows

#define UNROLL _Pragma("GCC unroll 32")

// Calls f with n as a constant, 1 to N.
template <int N, class F>
static INLINE void with_constant(int n, F f) {
  if constexpr (N > 1) {
    if (n != N) return with_constant<N - 1>(n, f);
  }
  f(std::integral_constant<int, N>{});
}

// Factor times the sums over c of q[c][row] k[c][key].
template <int R, int V>
static INLINE void scores(const float* q, const float* k, int width, float factor,
                          Floats (&sum)[R][V]) {
  UNROLL for (int r = 0; r < R; ++r) UNROLL for (int v = 0; v < V; ++v) sum[r][v] = Floats{};
  for (int c = 0; c < words(width); ++c, q += R, k += PANEL) {
    Floats key[V];
    UNROLL for (int v = 0; v < V; ++v) key[v] = load(k + v * LANES);
    UNROLL for (int r = 0; r < R; ++r) {
      const Floats query = spread(q + r);
      UNROLL for (int v = 0; v < V; ++v) sum[r][v] = add_product(sum[r][v], query, key[v]);
    }
  }
  if (TERMS == 1 || factor == 1) return;
  UNROLL for (int r = 0; r < R; ++r) UNROLL for (int v = 0; v < V; ++v) sum[r][v] *= factor;
}

// The same into a tile.
template <int R>
static void scores_to(const float* q, const float* k, int width, float factor, float* to) {
  Floats sum[R][2];
  scores<R, 2>(q, k, width, factor, sum);
  UNROLL for (int r = 0; r < R; ++r) UNROLL for (int v = 0; v < 2; ++v)
      store(to + r * PANEL + v * LANES, sum[r][v]);
}

// out[row][c] += Σ over words of keys of map[row][key] x[key][c], for V vectors of columns.
template <int R, int V>
static INLINE void add_columns(const float* map, const float* x, int stride, int keys, float* out) {
  Floats sum[R][V];
  UNROLL for (int r = 0; r < R; ++r) UNROLL for (int v = 0; v < V; ++v)
      sum[r][v] = load(out + r * stride + v * LANES);
  for (int j = 0; j < words(keys); ++j, x += stride) {
    Floats value[V];
    UNROLL for (int v = 0; v < V; ++v) value[v] = load(x + v * LANES);
    UNROLL for (int r = 0; r < R; ++r) {
      const Floats weight = spread(map + r * PANEL / TERMS + j);
      UNROLL for (int v = 0; v < V; ++v) sum[r][v] = add_product(sum[r][v], weight, value[v]);
    }
  }
  UNROLL for (int r = 0; r < R; ++r) UNROLL for (int v = 0; v < V; ++v)
      store(out + r * stride + v * LANES, sum[r][v]);
}

// out[row][c] += Σ over keys of map[row][key] x[key][c]; rows of x and out are `stride` apart.
template <int R>
static void add_outputs(const float* map, const float* x, int stride, int keys, float* out) {
  alignas(64) float buffer[R * PANEL / 2];
  map = in_words(map, R * PANEL, buffer);
  int c = 0;
  for (; c + 2 * LANES <= stride; c += 2 * LANES)
    add_columns<R, 2>(map, x + c, stride, keys, out + c);
  if (c < stride) add_columns<R, 1>(map, x + c, stride, keys, out + c);
}

// out[c][key] += Σ over rows of map[row][key] x[row][c]; rows of x are `width` apart.
static INLINE void add_transposed(const float* map, const float* x, int rows, int width,
                                 float* out) {
  alignas(64) float buffer[MOST_TILES * MOST_ROWS * PANEL / 2];
  if (TERMS == 2) {
    for (int r = 0; r < rows; r += 2)
      for (int v = 0; v < PANEL; v += LANES) {
        const float* entries = map + r * PANEL + v;
        store(buffer + r / 2 * PANEL + v, both(load(entries), load(entries + PANEL)));
      }
    map = buffer;
  }
  for (int c = 0; c < width; c += COLUMNS, out += COLUMNS * PANEL) {
    Floats sum[COLUMNS][2];
    UNROLL for (int i = 0; i < COLUMNS; ++i) UNROLL for (int v = 0; v < 2; ++v)
        sum[i][v] = load(out + i * PANEL + v * LANES);
    for (int r = 0; r < words(rows); ++r) {
      const Floats low = load(map + r * PANEL), high = load(map + r * PANEL + LANES);
      UNROLL for (int i = 0; i < COLUMNS; ++i) {
        const Floats factor = spread(x + r * width + c + i);
        sum[i][0] = add_product(sum[i][0], factor, low);
        sum[i][1] = add_product(sum[i][1], factor, high);
      }
    }
    UNROLL for (int i = 0; i < COLUMNS; ++i) UNROLL for (int v = 0; v < 2; ++v)
        store(out + i * PANEL + v * LANES, sum[i][v]);
  }
}

// to[h] = Σ over g of weight[g][h] (from[g] − shift) for T heads h, S rows at a time.
template <int R, int T, int S, bool SCALED, bool SHIFTED, bool ADDED>
static INLINE void mix_heads(const float* weight, int heads, const float* scale, float shift,
                             const float* from, float* to) {
  constexpr int V = 2 * S;
  for (int r = 0; r < R; r += S) {
    Floats sum[T][V];
    UNROLL for (int h = 0; h < T; ++h) UNROLL for (int v = 0; v < V; ++v)
        sum[h][v] = ADDED ? load(to + (h * R + r) * PANEL + v * LANES) : Floats{};
    for (int g = 0; g < heads; ++g) {
      Floats x[V];
      UNROLL for (int v = 0; v < V; ++v) {
        x[v] = load(from + (g * R + r) * PANEL + v * LANES);
        if (SCALED) x[v] *= scale[g * R + r + v / 2];
        if (SHIFTED) x[v] -= shift;
      }
      UNROLL for (int h = 0; h < T; ++h) {
        const Floats w = all(weight[g * heads + h]);
        UNROLL for (int v = 0; v < V; ++v) sum[h][v] += w * x[v];
      }
    }
    UNROLL for (int h = 0; h < T; ++h) UNROLL for (int v = 0; v < V; ++v)
        store(to + (h * R + r) * PANEL + v * LANES, sum[h][v]);
  }
}

// Rows of a step of a mix to T heads, as far as sums and factors fit in the registers.
template <int R>
constexpr int rows_a_step(int heads) {
  for (int rows : {4, 2})
    if (R % rows == 0 && (heads + 1) * 2 * rows < REGISTERS) return rows;
  return 1;
}

// Mixes tiles across heads: to[h] = Σ over g of weight[g][h] from[g] (scaled by scale[g][row], then
// less a shift).
template <int R, bool SCALED = false, bool SHIFTED = false, bool ADDED = false>
static void mix(const float* weight, int heads, const float* scale, float shift, const float* from,
                float* to) {
  const int steps = (heads + MIXED_HEADS - 1) / MIXED_HEADS;
  for (int i = 0, h = 0; i < steps; ++i) {
    const int count = (heads - h + steps - i - 1) / (steps - i);
    with_constant<MIXED_HEADS>(count, [&](auto constant) {
      constexpr int T = decltype(constant)::value;
      constexpr int S = rows_a_step<R>(T);
      mix_heads<R, T, S, SCALED, SHIFTED, ADDED>(weight + h, heads, scale, shift, from,
                                                 to + h * R * PANEL);
    });
    h += count;
  }
}

// sum[h][g] += Σ over n vectors of a[h] b[g], for S by T heads.
template <int S, int T>
static INLINE void pair_heads(const float* a, const float* b, int64_t stride, int n, Floats* sum,
                              int heads) {
  Floats part[S][T];
  UNROLL for (int s = 0; s < S; ++s) UNROLL for (int t = 0; t < T; ++t)
      part[s][t] = sum[s * heads + t];
  for (int i = 0; i < n; ++i, a += LANES, b += LANES) {
    Floats x[S], y[T];
    UNROLL for (int s = 0; s < S; ++s) x[s] = load(a + s * stride);
    UNROLL for (int t = 0; t < T; ++t) y[t] = load(b + t * stride);
    UNROLL for (int s = 0; s < S; ++s) UNROLL for (int t = 0; t < T; ++t)
        part[s][t] += x[s] * y[t];
  }
  UNROLL for (int s = 0; s < S; ++s) UNROLL for (int t = 0; t < T; ++t)
      sum[s * heads + t] = part[s][t];
}

// sum[h][g] += Σ over the first rows of tiles of a[h] b[g]; of equal a and b, h ≤ g is enough.
template <int R>
static void add_products(const float* a, const float* b, int heads, int rows, Floats* sum) {
  constexpr int64_t stride = R * PANEL;
  for (int h = 0; h < heads; h += PAIRED_HEADS)
    for (int g = a == b ? h : 0; g < heads; g += PAIRED_HEADS)
      with_constant<PAIRED_HEADS>(std::min(PAIRED_HEADS, heads - h), [&](auto s) {
        with_constant<PAIRED_HEADS>(std::min(PAIRED_HEADS, heads - g), [&](auto t) {
          pair_heads<decltype(s)::value, decltype(t)::value>(
              a + h * stride, b + g * stride, stride, 2 * rows, sum + h * heads + g, heads);
        });
      });
}
