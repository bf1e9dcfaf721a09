// The passes over the maps of a call: moments, forward and backward.
//
// A block of R query rows is taken through all keys, panel by panel, all heads at a time, so that
// mixes find the heads of a panel in the nearest cache. Rows of P need their sums before they are
// mixed: exponentials of a block of rows are kept until then. Included once for each instruction
// set, inside a namespace of its own.

// Logits within ±this need no row maximum: e^2x times any N is far from the limits of floats.
constexpr float SAFE_LOGIT = 30.0f;
// Panels whose products of heads are summed in floats before they are added to doubles.
constexpr int PANELS_A_SUM = 8;

// Sizes of a call. Widths are filled up to whole vectors, tokens to whole panels.
struct Sizes {
  int heads, tokens, width, columns, panels;
  int64_t panel_rows, panel_columns;  // floats of all heads' panels: [head][key][column], or turned

  explicit Sizes(const Call& call)
      : heads(call.heads), tokens(call.tokens), width(call.width) {
    constexpr int unit = LANES > 8 ? LANES : 8;
    columns = (width + unit - 1) / unit * unit;
    panels = (tokens + PANEL - 1) / PANEL;
    panel_rows = int64_t(heads) * PANEL * columns;
    panel_columns = int64_t(heads) * columns * PANEL;
  }
  int keys(int panel) const { return std::min(PANEL, tokens - panel * PANEL); }
};

// Memory cut into aligned pieces; with no memory it only counts.
class Memory {
 public:
  explicit Memory(char* start) : start_(start) {}
  template <class T>
  T* take(int64_t count) {
    T* piece = reinterpret_cast<T*>(start_ + used_);
    used_ += (count * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
  size_t used() const { return used_; }

 private:
  char* start_;
  size_t used_ = 0;
};

// Keys, values and sums of one image. Panels of "columns" are [head][column][key], of "rows"
// [head][key][column].
struct Image {
  int64_t index = 0;
  float *key_columns, *value_rows;             // forward
  float *key_rows = nullptr, *value_columns = nullptr;  // backward
  double *values, *grads;                      // (H, d) sums of values and gradients over tokens
  float* key_length;                           // (H), the longest key

  Image(const Call& call, const Sizes& s, Pass pass, Memory& memory) {
    key_columns = memory.take<float>(s.panels * s.panel_columns);
    key_length = memory.take<float>(s.heads);
    values = memory.take<double>(s.heads * s.width);
    grads = memory.take<double>(s.heads * s.width);
    if (pass == FORWARD) value_rows = memory.take<float>(s.panels * s.panel_rows);
    if (pass == BACKWARD) {
      key_rows = memory.take<float>(s.panels * s.panel_rows);
      value_columns = memory.take<float>(s.panels * s.panel_columns);
    }
  }

  void pack(const Call& call, const Sizes& s, Pass pass, int h);
};

static INLINE const char* at(const Array& x, int64_t image, int64_t head, int64_t token) {
  const int64_t size = x.dtype == FLOAT32 ? 4 : 2;
  return static_cast<const char*>(x.data) +
         size * (image * x.images + head * x.heads + token * x.tokens);
}

// The d entries of a row, in floats.
static INLINE void read_row(const Array& x, int64_t image, int64_t head, int64_t token, int width,
                            float* row) {
  const char* from = at(x, image, head, token);
  if (x.dtype == FLOAT32) {
    const float* f = reinterpret_cast<const float*>(from);
    if (x.columns == 1) {
      std::memcpy(row, f, width * sizeof(float));
    } else {
      for (int c = 0; c < width; ++c) row[c] = f[c * x.columns];
    }
  } else {
    const uint16_t* f = reinterpret_cast<const uint16_t*>(from);
    const bool half = x.dtype == FLOAT16;
    for (int c = 0; c < width; ++c) {
      const uint16_t bits = f[c * x.columns];
      row[c] = half ? float_of_half(bits) : float_of_bfloat(bits);
    }
  }
}

static INLINE void write_row(const Array& x, int64_t image, int64_t head, int64_t token, int width,
                             const float* row) {
  char* to = const_cast<char*>(at(x, image, head, token));
  if (x.dtype == FLOAT32) {
    float* f = reinterpret_cast<float*>(to);
    if (x.columns == 1) {
      std::memcpy(f, row, width * sizeof(float));
    } else {
      for (int c = 0; c < width; ++c) f[c * x.columns] = row[c];
    }
  } else {
    uint16_t* f = reinterpret_cast<uint16_t*>(to);
    const bool half = x.dtype == FLOAT16;
    for (int c = 0; c < width; ++c)
      f[c * x.columns] = half ? half_of_float(row[c]) : bfloat_of_float(row[c]);
  }
}

static void sum_tokens(const Array& x, int64_t image, int head, const Sizes& s, double* sum) {
  float row[MOST_WIDTH];
  std::fill(sum, sum + s.width, 0.0);
  for (int j = 0; j < s.tokens; ++j) {
    read_row(x, image, head, j, s.width, row);
    for (int c = 0; c < s.width; ++c) sum[c] += row[c];
  }
}

// Lays out what a head of the image has, so that passes read it in order.
inline void Image::pack(const Call& call, const Sizes& s, Pass pass, int h) {
  float mean[MOST_WIDTH] = {}, longest = 0;
  if (pass != MOMENTS) {
    sum_tokens(call.v, index, h, s, values + h * s.width);
    if (call.centred)
      for (int c = 0; c < s.width; ++c) mean[c] = values[h * s.width + c] / s.tokens;
  }
  if (pass == BACKWARD) sum_tokens(call.grad, index, h, s, grads + h * s.width);
  for (int p = 0; p < s.panels; ++p) {
    float* k_columns = key_columns + p * s.panel_columns + int64_t(h) * s.columns * PANEL;
    float *k_rows = nullptr, *v_rows = nullptr, *v_columns = nullptr;
    if (pass == FORWARD) v_rows = value_rows + p * s.panel_rows + int64_t(h) * PANEL * s.columns;
    if (pass == BACKWARD) {
      k_rows = key_rows + p * s.panel_rows + int64_t(h) * PANEL * s.columns;
      v_columns = value_columns + p * s.panel_columns + int64_t(h) * s.columns * PANEL;
    }
    for (int j = 0; j < PANEL; ++j) {
      float row[MOST_WIDTH] = {};
      const bool there = j < s.keys(p);
      if (there) read_row(call.k, index, h, p * PANEL + j, s.width, row);
      float length = 0;
      for (int c = 0; c < s.width; ++c) {
        k_columns[c * PANEL + j] = row[c];
        length += row[c] * row[c];
      }
      longest = length <= longest ? longest : length;  // NaN stays
      if (k_rows) std::memcpy(k_rows + j * s.columns, row, s.columns * sizeof(float));
      if (pass == MOMENTS) continue;
      if (there) {
        read_row(call.v, index, h, p * PANEL + j, s.width, row);
        for (int c = 0; c < s.width; ++c) row[c] -= mean[c];
      }
      if (v_rows) std::memcpy(v_rows + j * s.columns, row, s.columns * sizeof(float));
      if (v_columns)
        for (int c = 0; c < s.width; ++c) v_columns[c * PANEL + j] = row[c];
    }
  }
  key_length[h] = std::sqrt(longest);
}

// Sums of parameters' gradients, or of moments, of one thread. Products of heads are summed up for
// each lane apart.
struct Totals {
  double *first, *bias, *norm_weight, *norm_map_bias;  // (H)
  double *second, *pre;                                // (H, H, LANES)

  Totals(const Sizes& s, Memory& memory) {
    first = memory.take<double>(s.heads);
    bias = memory.take<double>(s.heads);
    norm_weight = memory.take<double>(s.heads);
    norm_map_bias = memory.take<double>(s.heads);
    second = memory.take<double>(s.heads * s.heads * LANES);
    pre = memory.take<double>(s.heads * s.heads * LANES);
  }
  void clear(const Sizes& s) {
    for (double* x : {first, bias, norm_weight, norm_map_bias}) std::fill(x, x + s.heads, 0.0);
    for (double* x : {second, pre}) std::fill(x, x + s.heads * s.heads * LANES, 0.0);
  }
};

// One thread's way through blocks of R query rows.
template <int R>
class Worker {
 public:
  static constexpr int TILE = R * PANEL;

  Worker(const Call& call, const Sizes& sizes, Pass pass, Memory& memory)
      : totals(sizes, memory), call_(call), s_(sizes), pass_(pass) {
    const int64_t tiles = int64_t(s_.heads) * TILE;
    queries_ = memory.take<float>(s_.heads * s_.width * R);
    maps_ = memory.take<float>(tiles * s_.panels);
    mixed_ = memory.take<float>(tiles);
    lse_ = memory.take<float>(s_.heads * R);
    inverse_ = memory.take<float>(s_.heads * R);
    sums_ = memory.take<Floats>(s_.heads * R);
    if (call.pre) raw_ = memory.take<float>(tiles * (pass == BACKWARD ? s_.panels : 1));
    for (auto [weight, turned] : {std::pair{call.pre, &pre_}, {call.post, &post_}})
      if (weight) *turned = memory.take<float>(s_.heads * s_.heads);
    if (call.products) products_ = memory.take<float>(s_.heads * s_.heads);
    if (pass != MOMENTS) rows_ = memory.take<float>(s_.heads * R * s_.columns);
    if (pass != FORWARD) pairs_ = memory.take<Floats>(s_.heads * s_.heads);
    if (pass == BACKWARD) {
      if (call.pre) pre_pairs_ = memory.take<Floats>(s_.heads * s_.heads);
      query_rows_ = memory.take<float>(s_.heads * R * s_.columns);
      grad_rows_ = memory.take<float>(s_.heads * R * s_.columns);
      grad_columns_ = memory.take<float>(s_.heads * s_.width * R);
      grads_ = memory.take<float>(tiles * s_.panels);
      dropped_ = memory.take<float>(tiles);
      grad_maps_ = memory.take<float>(tiles);
      factors_ = memory.take<float>(TILE);
    }
  }

  // Clears sums and turns mixes, before the first block.
  void start() {
    totals.clear(s_);
    const int H = s_.heads;
    for (int h = 0; h < H; ++h)
      for (int g = 0; g < H; ++g) {
        if (pre_) pre_[g * H + h] = call_.pre[h * H + g];
        if (post_) post_[g * H + h] = call_.post[h * H + g];
        if (products_) products_[g * H + h] = call_.products[h * H + g];
      }
    if (pairs_) clear_pairs();
  }

  // Adds what is left in the sums, after the last block.
  void finish() {
    if (pairs_) add_pairs();
  }

  void moments(const Image& image, int64_t block);
  void forward(const Image& image, int64_t block);
  // Adds to the gradients of keys and values, panels of columns.
  void backward(const Image& image, int64_t block, float* grad_keys, float* grad_values);

  Totals totals;

 private:
  enum class Softmax { SUMS, LOGITS, KNOWN };

  float* tile(float* tiles, int h) const { return tiles + int64_t(h) * TILE; }
  float* panel(float* tiles, int p) const { return tiles + int64_t(p) * s_.heads * TILE; }

  void start_block(const Image& image, int64_t block);
  bool has_exponentials(const Image& image, bool known);
  void exponentials(const Image& image, bool is_safe);
  template <Softmax M>
  void softmax_panel(const Image& image, int p, float* to);
  template <Softmax M, int V>
  void softmax_tile(const float* query, const float* key, int h, int keys, float* to);
  template <Softmax M, int V>
  INLINE void finish_rows(Floats (&x)[R][V], int h, int keys, float* to);
  void subtract_maxima();
  bool safe(const Image& image) const;

  void drop(float* tiles, int p) const;
  void normalize(float* tiles, float* factors) const;
  void normalize_backward(const float* normal, float* grads);
  void add_map_bias(float* tiles) const;
  void add_total(const float* tiles, double* total) const;
  void grad_probabilities(int p, float* probabilities, float* grads);
  void clear_pairs();
  void add_pairs();
  void count_pairs() {
    if (++summed_ == PANELS_A_SUM) add_pairs();
  }

  const Call& call_;
  const Sizes& s_;
  const Pass pass_;
  int64_t image_ = 0, row_ = 0;
  int there_ = 0, summed_ = 0;
  float *queries_, *maps_, *mixed_, *lse_, *inverse_, *raw_ = nullptr;
  float *pre_ = nullptr, *post_ = nullptr, *products_ = nullptr;
  float *rows_ = nullptr, *query_rows_, *grad_rows_, *grad_columns_, *grads_, *dropped_;
  float *grad_maps_, *factors_;
  Floats *sums_, *pairs_ = nullptr, *pre_pairs_ = nullptr;
};

template <int R>
void Worker<R>::start_block(const Image& image, int64_t block) {
  image_ = image.index;
  row_ = block * R;
  there_ = std::min<int64_t>(R, s_.tokens - row_);
  const float scale = call_.scale;
  float row[MOST_WIDTH];
  for (int h = 0; h < s_.heads; ++h)
    for (int r = 0; r < R; ++r) {
      if (r < there_) {
        read_row(call_.q, image_, h, row_ + r, s_.width, row);
      } else {
        std::fill(row, row + s_.width, 0.0f);
      }
      float* column = queries_ + h * s_.width * R + r;
      for (int c = 0; c < s_.width; ++c) column[c * R] = scale * row[c];
      if (pass_ != BACKWARD) continue;
      float* to = query_rows_ + (h * R + r) * s_.columns;
      for (int c = 0; c < s_.columns; ++c) to[c] = c < s_.width ? scale * row[c] : 0.0f;
      if (r < there_) read_row(call_.grad, image_, h, row_ + r, s_.width, row);
      to = grad_rows_ + (h * R + r) * s_.columns;
      for (int c = 0; c < s_.columns; ++c) to[c] = c < s_.width ? row[c] : 0.0f;
      column = grad_columns_ + h * s_.width * R + r;
      for (int c = 0; c < s_.width; ++c) column[c * R] = row[c];
    }
  if (call_.lse_known || pass_ == BACKWARD)
    for (int h = 0; h < s_.heads; ++h)
      for (int r = 0; r < R; ++r) {
        const float* lse = call_.lse + (image_ * s_.heads + h) * s_.tokens + row_;
        lse_[h * R + r] = r < there_ ? lse[r] : 0.0f;
      }
}

// Whether exp of the block's logits stays in the range of floats without a row maximum.
template <int R>
bool Worker<R>::safe(const Image& image) const {
  float reach[MOST_HEADS];
  for (int h = 0; h < s_.heads; ++h) {
    float most = 0;
    for (int r = 0; r < R; ++r) {
      float length = 0;
      const float* column = queries_ + h * s_.width * R + r;
      for (int c = 0; c < s_.width; ++c) length += column[c * R] * column[c * R];
      most = length <= most ? most : length;
    }
    reach[h] = std::sqrt(most) * image.key_length[h];
  }
  bool within = true;
  for (int h = 0; h < s_.heads; ++h) {
    float most = reach[h];
    if (call_.pre) {
      most = 0;
      for (int g = 0; g < s_.heads; ++g)
        most += std::fabs(call_.pre[h * s_.heads + g]) * reach[g];
    }
    within = within && most <= SAFE_LOGIT;
  }
  return within;
}

template <int R>
template <typename Worker<R>::Softmax M, int V>
INLINE void Worker<R>::finish_rows(Floats (&x)[R][V], int h, int keys, float* to) {
  Floats* sum = sums_ + h * R;
  UNROLL for (int r = 0; r < R; ++r) UNROLL for (int v = 0; v < V; ++v) {
    Floats value = x[r][v];
    if (keys < V * LANES)
      value = iota() + v * LANES < keys ? value : all(-std::numeric_limits<float>::infinity());
    if constexpr (M == Softmax::SUMS) {
      value = exp_of(value);
      sum[r] += value;
    } else if constexpr (M == Softmax::KNOWN) {
      value = exp_of(value - lse_[h * R + r]);
    } else {
      sum[r] = larger(value, sum[r]);
    }
    store(to + r * PANEL + v * LANES, value);
  }
  if constexpr (V == 1) {
    const float none = M == Softmax::LOGITS ? -std::numeric_limits<float>::infinity() : 0.0f;
    UNROLL for (int r = 0; r < R; ++r) store(to + r * PANEL + LANES, all(none));
  }
}

template <int R>
template <typename Worker<R>::Softmax M, int V>
void Worker<R>::softmax_tile(const float* query, const float* key, int h, int keys, float* to) {
  Floats sum[R][V];
  scores<R, V>(query, key, s_.width, sum);
  finish_rows<M, V>(sum, h, keys, to);
}

// All heads' exponentials or mixed logits of a panel; raw logits too where there is a mix.
template <int R>
template <typename Worker<R>::Softmax M>
void Worker<R>::softmax_panel(const Image& image, int p, float* to) {
  const int keys = s_.keys(p);
  const float* key = image.key_columns + p * s_.panel_columns;
  float* raw = call_.pre ? (pass_ == BACKWARD ? panel(raw_, p) : raw_) : nullptr;
  for (int h = 0; h < s_.heads; ++h, key += s_.columns * PANEL) {
    const float* query = queries_ + h * s_.width * R;
    if (raw) {
      Floats sum[R][2];
      scores<R, 2>(query, key, s_.width, sum);
      UNROLL for (int r = 0; r < R; ++r) UNROLL for (int v = 0; v < 2; ++v)
          store(tile(raw, h) + r * PANEL + v * LANES, sum[r][v]);
    } else if (keys > LANES) {
      softmax_tile<M, 2>(query, key, h, keys, tile(to, h));
    } else {
      softmax_tile<M, 1>(query, key, h, keys, tile(to, h));
    }
  }
  if (!raw) return;
  mix<R>(pre_, s_.heads, nullptr, raw, to);
  for (int h = 0; h < s_.heads; ++h)
    for (int r = 0; r < R; ++r) {
      // Row by row, as finish_rows does it to rows in registers.
      float* row = tile(to, h) + r * PANEL;
      Floats& sum = sums_[h * R + r];
      for (int v = 0; v < 2; ++v) {
        Floats value = load(row + v * LANES);
        if (keys < PANEL)
          value = iota() + v * LANES < keys ? value : all(-std::numeric_limits<float>::infinity());
        if constexpr (M == Softmax::SUMS) {
          value = exp_of(value);
          sum += value;
        } else if constexpr (M == Softmax::KNOWN) {
          value = exp_of(value - lse_[h * R + r]);
        } else {
          sum = larger(value, sum);
        }
        store(row + v * LANES, value);
      }
    }
}

// Exponentials of the block's rows, their log-sum-exp and the inverse of their sums.
template <int R>
void Worker<R>::exponentials(const Image& image, bool is_safe) {
  const float start = is_safe ? 0.0f : -std::numeric_limits<float>::infinity();
  std::fill(sums_, sums_ + s_.heads * R, all(start));
  std::fill(lse_, lse_ + s_.heads * R, 0.0f);
  for (int p = 0; p < s_.panels; ++p)
    if (is_safe) {
      softmax_panel<Softmax::SUMS>(image, p, panel(maps_, p));
    } else {
      softmax_panel<Softmax::LOGITS>(image, p, panel(maps_, p));
    }
  if (!is_safe) subtract_maxima();
  for (int h = 0; h < s_.heads; ++h) {
    float* lse = call_.lse + (image_ * s_.heads + h) * s_.tokens + row_;
    for (int r = 0; r < R; ++r) {
      const float sum = sum_of(sums_[h * R + r]);
      inverse_[h * R + r] = 1 / sum;
      lse_[h * R + r] += std::log(sum);
      if (r < there_) lse[r] = lse_[h * R + r];
    }
  }
}

// Makes the exponentials of the block's rows where probabilities do not follow from a known
// log-sum-exp: a large one has too few digits after the point. Returns whether it made them.
template <int R>
bool Worker<R>::has_exponentials(const Image& image, bool known) {
  const bool is_safe = safe(image);
  if (known && is_safe) return false;
  exponentials(image, is_safe);
  return true;
}

// From logits and their maxima, in vectors of sums_, to exponentials and their sums.
template <int R>
void Worker<R>::subtract_maxima() {
  for (int i = 0; i < s_.heads * R; ++i) {
    lse_[i] = max_of(sums_[i]);
    sums_[i] = Floats{};
  }
  for (int p = 0; p < s_.panels; ++p)
    for (int i = 0; i < s_.heads * R; ++i)
      for (int v = 0; v < 2; ++v) {
        float* x = panel(maps_, p) + i * PANEL + v * LANES;
        const Floats value = exp_of(load(x) - lse_[i]);
        sums_[i] += value;
        store(x, value);
      }
}

// Multiplies all heads' tiles by the factors 0 and 1 / (1 − p), which depend on the place alone.
template <int R>
void Worker<R>::drop(float* tiles, int p) const {
  const uint32_t limit = static_cast<uint32_t>((1 - call_.dropout_p) * 4294967295.0);
  const Floats kept = all(static_cast<float>(1 / (1 - call_.dropout_p)));
  for (int h = 0; h < s_.heads; ++h)
    for (int r = 0; r < R; ++r) {
      const uint64_t place = (image_ * s_.heads + h) * int64_t(s_.tokens) + row_ + r;
      const uint32_t seed = word_of(call_.seed, place);
      for (int v = 0; v < 2; ++v) {
        const Words key = (Words)(iota() + (p * PANEL + v * LANES)) * 0x9e3779b9u + seed;
        float* x = tile(tiles, h) + r * PANEL + v * LANES;
        const Words word = hash_of(key);
        store(x, word < limit ? load(x) * kept : Floats{});
      }
    }
}

// LayerNorm over the heads of centred mixes, less weight and bias; keeps its factors if asked.
template <int R>
void Worker<R>::normalize(float* tiles, float* factors) const {
  const float *bias = call_.norm_map_bias, share = 1.0f / s_.heads;
  for (int i = 0; i < TILE; i += LANES) {
    Floats squares = {};
    for (int h = 0; h < s_.heads; ++h) {
      Floats x = load(tile(tiles, h) + i);
      if (bias) x += bias[h];
      squares += x * x;
    }
    float factor[LANES] __attribute__((aligned(64)));
    store(factor, squares * share + float(call_.eps));
    for (int l = 0; l < LANES; ++l) factor[l] = 1 / std::sqrt(factor[l]);
    const Floats scale = load(factor);
    for (int h = 0; h < s_.heads; ++h) {
      float* x = tile(tiles, h) + i;
      store(x, (bias ? load(x) + bias[h] : load(x)) * scale);
    }
    if (factors) store(factors + i, scale);
  }
}

template <int R>
void Worker<R>::add_map_bias(float* tiles) const {
  for (int h = 0; h < s_.heads; ++h)
    for (int i = 0; i < TILE; i += LANES)
      store(tile(tiles, h) + i, load(tile(tiles, h) + i) + call_.bias[h]);
}

template <int R>
void Worker<R>::add_total(const float* tiles, double* total) const {
  for (int h = 0; h < s_.heads; ++h) {
    Floats sum = {};
    for (int i = 0; i < TILE; i += LANES) sum += load(tiles + int64_t(h) * TILE + i);
    total[h] += sum_of(sum);
  }
}

template <int R>
void Worker<R>::clear_pairs() {
  std::fill(pairs_, pairs_ + s_.heads * s_.heads, Floats{});
  if (pre_pairs_) std::fill(pre_pairs_, pre_pairs_ + s_.heads * s_.heads, Floats{});
  summed_ = 0;
}

template <int R>
void Worker<R>::add_pairs() {
  const int count = s_.heads * s_.heads * LANES;
  const float *pairs = reinterpret_cast<float*>(pairs_), *pre = reinterpret_cast<float*>(pre_pairs_);
  for (int i = 0; i < count; ++i) totals.second[i] += pairs[i];
  if (pre)
    for (int i = 0; i < count; ++i) totals.pre[i] += pre[i];
  clear_pairs();
}

// Sums of P − 1/N and of its products between heads; the sums of P itself follow from them.
template <int R>
void Worker<R>::moments(const Image& image, int64_t block) {
  start_block(image, block);
  exponentials(image, safe(image));
  const float mean = 1.0f / s_.tokens;
  for (int p = 0; p < s_.panels; ++p) {
    float* maps = panel(maps_, p);
    const int keys = s_.keys(p);
    if (call_.drops_probabilities) drop(maps, p);
    for (int h = 0; h < s_.heads; ++h)
      for (int r = 0; r < there_; ++r)
        for (int v = 0; v < 2; ++v) {
          float* x = tile(maps, h) + r * PANEL + v * LANES;
          const Floats centred = load(x) * inverse_[h * R + r] - mean;
          store(x, iota() + v * LANES < keys ? centred : Floats{});
        }
    add_products<R>(maps, maps, s_.heads, there_, pairs_);
    if (call_.drops_probabilities)
      for (int h = 0; h < s_.heads; ++h) {
        Floats sum = {};
        for (int i = 0; i < there_ * PANEL; i += LANES) sum += load(tile(maps, h) + i);
        totals.first[h] += sum_of(sum);
      }
    count_pairs();
  }
}

template <int R>
void Worker<R>::forward(const Image& image, int64_t block) {
  start_block(image, block);
  const bool divides = has_exponentials(image, call_.lse_known);
  std::fill(rows_, rows_ + s_.heads * R * s_.columns, 0.0f);
  for (int p = 0; p < s_.panels; ++p) {
    float* maps = divides ? panel(maps_, p) : maps_;
    if (!divides) softmax_panel<Softmax::KNOWN>(image, p, maps);
    if (call_.drops_probabilities) drop(maps, p);
    if (post_) {
      if (divides) {
        mix<R, true>(post_, s_.heads, inverse_, maps, mixed_);
      } else {
        mix<R>(post_, s_.heads, nullptr, maps, mixed_);
      }
      maps = mixed_;
    }
    if (call_.norm_weight) normalize(maps, nullptr);
    if (call_.drops_mixed) {
      if (call_.bias) add_map_bias(maps);
      drop(maps, p);
    }
    const float* values = image.value_rows + p * s_.panel_rows;
    for (int h = 0; h < s_.heads; ++h)
      add_outputs<R>(tile(maps, h), values + h * PANEL * s_.columns, s_.columns, s_.keys(p),
                     rows_ + h * R * s_.columns);
  }
  const bool adds_bias = call_.bias && !call_.drops_mixed;
  for (int h = 0; h < s_.heads; ++h)
    for (int r = 0; r < there_; ++r) {
      float* row = rows_ + (h * R + r) * s_.columns;
      // A sum that no mix has divided by, and a weight that stands on whole maps, act on rows.
      float factor = divides && !post_ ? inverse_[h * R + r] : 1.0f;
      if (call_.norm_weight) factor *= call_.norm_weight[h];
      for (int c = 0; c < s_.width; ++c) {
        row[c] *= factor;
        if (adds_bias) row[c] += call_.bias[h] * static_cast<float>(image.values[h * s_.width + c]);
      }
      write_row(call_.out, image_, h, row_ + r, s_.width, row);
    }
}

// Gradient of centred mixes from that of A: LayerNorm over the heads, in place.
template <int R>
void Worker<R>::normalize_backward(const float* normal, float* grads) {
  const float share = 1.0f / s_.heads;
  Floats weight_sum[MOST_HEADS] = {}, bias_sum[MOST_HEADS] = {};
  for (int i = 0; i < TILE; i += LANES) {
    Floats mean = {}, along = {};
    for (int h = 0; h < s_.heads; ++h) {
      const Floats grad = load(tile(grads, h) + i), x = load(normal + int64_t(h) * TILE + i);
      weight_sum[h] += grad * x;
      mean += grad * call_.norm_weight[h];
      along += grad * x * call_.norm_weight[h];
    }
    mean *= share;
    along *= share;
    const Floats factor = load(factors_ + i);
    for (int h = 0; h < s_.heads; ++h) {
      float* grad = tile(grads, h) + i;
      const Floats x = load(normal + int64_t(h) * TILE + i);
      const Floats value = (load(grad) * call_.norm_weight[h] - mean - x * along) * factor;
      bias_sum[h] += value;
      store(grad, value);
    }
  }
  for (int h = 0; h < s_.heads; ++h) {
    totals.norm_weight[h] += sum_of(weight_sum[h]);
    totals.norm_map_bias[h] += sum_of(bias_sum[h]);
  }
}

// Gradient of P into `grads`, from that of A in grad_maps_, which may be overwritten.
template <int R>
void Worker<R>::grad_probabilities(int p, float* probabilities, float* grads) {
  const int heads = s_.heads;
  if (post_) {
    add_products<R>(grad_maps_, probabilities, heads, there_, pairs_);
    // post[h][g] is laid out as the turned mix of the other direction.
    mix<R>(call_.post, heads, nullptr, grad_maps_, grads);
  } else {
    std::memcpy(grads, grad_maps_, heads * TILE * sizeof(float));
  }
  if (products_) mix<R, false, true>(products_, heads, nullptr, probabilities, grads);
  if (call_.constant)
    for (int h = 0; h < heads; ++h)
      for (int i = 0; i < TILE; i += LANES)
        store(tile(grads, h) + i, load(tile(grads, h) + i) + call_.constant[h]);
  if (call_.drops_probabilities) drop(grads, p);
}

template <int R>
void Worker<R>::backward(const Image& image, int64_t block, float* grad_keys, float* grad_values) {
  start_block(image, block);
  const int heads = s_.heads;
  const bool divides = has_exponentials(image, true);
  std::fill(rows_, rows_ + heads * R * s_.columns, 0.0f);
  std::fill(sums_, sums_ + heads * R, Floats{});
  for (int p = 0; p < s_.panels; ++p) {
    float *maps = panel(maps_, p), *grads = panel(grads_, p);
    if (divides) {
      for (int i = 0; i < heads * TILE; i += LANES)
        store(maps + i, load(maps + i) * inverse_[i / PANEL]);
    } else {
      softmax_panel<Softmax::KNOWN>(image, p, maps);
    }
    const float* value = image.value_columns + p * s_.panel_columns;
    for (int h = 0; h < heads; ++h, value += s_.columns * PANEL) {
      Floats sum[R][2];
      scores<R, 2>(grad_columns_ + h * s_.width * R, value, s_.width, sum);
      UNROLL for (int r = 0; r < R; ++r) UNROLL for (int v = 0; v < 2; ++v)
          store(tile(grad_maps_, h) + r * PANEL + v * LANES, sum[r][v]);
    }
    float* probabilities = maps;
    if (call_.drops_probabilities) {
      std::memcpy(dropped_, maps, heads * TILE * sizeof(float));
      drop(dropped_, p);
      probabilities = dropped_;
    }
    const float* mixed = probabilities;
    if (post_) {
      mix<R>(post_, heads, nullptr, probabilities, mixed_);
      mixed = mixed_;
    }
    if (call_.norm_weight) normalize(mixed_, factors_);
    if (call_.drops_mixed) {
      if (mixed != mixed_) std::memcpy(mixed_, mixed, heads * TILE * sizeof(float));
      mixed = mixed_;
      if (call_.bias) add_map_bias(mixed_);
      drop(mixed_, p);
      drop(grad_maps_, p);
      if (call_.bias) add_total(grad_maps_, totals.bias);
    }
    float* grad_value = grad_values + p * s_.panel_columns;
    for (int h = 0; h < heads; ++h)
      add_transposed<R>(mixed + int64_t(h) * TILE, grad_rows_ + h * R * s_.columns, s_.columns,
                        grad_value + int64_t(h) * s_.columns * PANEL);
    if (call_.norm_weight) normalize_backward(mixed_, grad_maps_);
    grad_probabilities(p, probabilities, grads);
    for (int i = 0; i < heads * R; ++i)
      for (int v = 0; v < 2; ++v)
        sums_[i] += load(maps + i * PANEL + v * LANES) * load(grads + i * PANEL + v * LANES);
    if (!call_.pre) count_pairs();
  }
  for (int i = 0; i < heads * R; ++i) inverse_[i] = sum_of(sums_[i]);
  for (int p = 0; p < s_.panels; ++p) {
    float *maps = panel(maps_, p), *grads = panel(grads_, p);
    for (int i = 0; i < heads * R; ++i)
      for (int v = 0; v < 2; ++v) {
        const int64_t place = i * PANEL + v * LANES;
        store(grads + place, load(maps + place) * (load(grads + place) - inverse_[i]));
      }
    if (call_.pre) {
      add_products<R>(grads, panel(raw_, p), heads, there_, pre_pairs_);
      mix<R>(call_.pre, heads, nullptr, grads, mixed_);
      grads = mixed_;
      count_pairs();
    }
    const float* key = image.key_rows + p * s_.panel_rows;
    float* grad_key = grad_keys + p * s_.panel_columns;
    for (int h = 0; h < heads; ++h) {
      add_outputs<R>(tile(grads, h), key + h * PANEL * s_.columns, s_.columns, s_.keys(p),
                     rows_ + h * R * s_.columns);
      add_transposed<R>(tile(grads, h), query_rows_ + h * R * s_.columns, s_.columns,
                        grad_key + int64_t(h) * s_.columns * PANEL);
    }
  }
  for (int h = 0; h < heads; ++h)
    for (int r = 0; r < there_; ++r) {
      float* row = rows_ + (h * R + r) * s_.columns;
      for (int c = 0; c < s_.width; ++c) row[c] *= float(call_.scale);
      write_row(call_.grad_q, image_, h, row_ + r, s_.width, row);
    }
}
