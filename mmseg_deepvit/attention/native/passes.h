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

// Sizes of a call. Widths are filled up to whole vectors, tokens to whole panels. Where nothing is
// mixed, each head counts as an image of its own: what is kept of it stays nearer.
struct Sizes {
  bool unmixed;
  int64_t images;
  int heads, tokens, width, columns, panels;
  int64_t panel_rows, panel_columns;  // floats of all heads' panels: [head][key][column], or turned
  float query_scale, logit_scale;     // the scale is their product

  Sizes(const Call& call, Pass pass)
      : unmixed(!call.pre && !call.post && (pass == FORWARD || pass == BACKWARD)),
        images(unmixed ? call.batch * call.heads : call.batch),
        heads(unmixed ? 1 : call.heads), tokens(call.tokens), width(call.width) {
    constexpr int unit = LANES > 8 ? LANES : 8;
    columns = (width + unit - 1) / unit * unit;
    panels = (tokens + PANEL - 1) / PANEL;
    panel_rows = int64_t(heads) * PANEL * columns;
    panel_columns = int64_t(heads) * columns * PANEL;
    // Queries keep their digits in bfloat16 if what multiplies them is a power of two.
    const float scale = call.scale;
    const bool splits = TERMS == 2 && scale != 0 && std::isfinite(scale);
    query_scale = splits ? std::ldexp(1.0f, std::ilogb(scale)) : scale;
    logit_scale = splits ? scale / query_scale : 1.0f;
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
// [head][key][column], of the words of each.
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

// Rows of a head may lie kilobytes apart, where no processor fetches the next ones by itself.
constexpr int ROWS_AHEAD = 8;

// One head of an array, in floats. Heads of all images are counted through.
class Rows {
 public:
  Rows(const Call& call, const Array& x, int64_t map)
      : is_float_(x.dtype == FLOAT32), is_half_(x.dtype == FLOAT16), width_(call.width),
        columns_(x.columns), step_(x.tokens * size()),
        start_(static_cast<char*>(x.data)) {
    const uint32_t heads = call.heads, image = uint32_t(map) / heads, head = uint32_t(map) % heads;
    start_ += (image * x.images + head * x.heads) * size();
  }

  INLINE void read(int64_t token, float* row) const {
    const char* from = start_ + token * step_;
    fetch<0>(from);
    if (is_float_ && columns_ == 1) return copy(reinterpret_cast<const float*>(from), width_, row);
    for (int c = 0; c < width_; ++c) {
      const char* entry = from + c * columns_ * size();
      if (is_float_) {
        row[c] = *reinterpret_cast<const float*>(entry);
      } else {
        const uint16_t bits = *reinterpret_cast<const uint16_t*>(entry);
        row[c] = is_half_ ? float_of_half(bits) : float_of_bfloat(bits);
      }
    }
  }

  INLINE void write(int64_t token, const float* row) const {
    char* to = start_ + token * step_;
    fetch<1>(to);
    if (is_float_ && columns_ == 1) return copy(row, width_, reinterpret_cast<float*>(to));
    for (int c = 0; c < width_; ++c) {
      char* entry = to + c * columns_ * size();
      if (is_float_) {
        *reinterpret_cast<float*>(entry) = row[c];
      } else {
        *reinterpret_cast<uint16_t*>(entry) =
            is_half_ ? half_of_float(row[c]) : bfloat_of_float(row[c]);
      }
    }
  }

 private:
  int64_t size() const { return is_float_ ? 4 : 2; }

  template <int WRITES>
  INLINE void fetch(const char* row) const {
    const uintptr_t ahead = reinterpret_cast<uintptr_t>(row) + ROWS_AHEAD * step_;
    for (int64_t i = 0; i < width_ * size(); i += 64)
      __builtin_prefetch(reinterpret_cast<const void*>(ahead + i), WRITES);
  }

  static INLINE void copy(const float* from, int width, float* to) {
    typedef float Four __attribute__((vector_size(16), may_alias, aligned(4)));
    int c = 0;
    for (; c + LANES <= width; c += LANES) *(Anywhere*)(to + c) = *(const Anywhere*)(from + c);
    for (; c + 4 <= width; c += 4) *(Four*)(to + c) = *(const Four*)(from + c);
    for (; c < width; ++c) to[c] = from[c];
  }

  bool is_float_, is_half_;
  int width_;
  int64_t columns_, step_;
  char* start_;
};

// Tokens whose rows are summed in floats before they are added to doubles.
constexpr int TOKENS_A_SUM = 32;

static void sum_tokens(const Rows& rows, const Sizes& s, double* sum) {
  alignas(64) float row[MOST_WIDTH] = {}, part[MOST_WIDTH];
  std::fill(sum, sum + s.width, 0.0);
  for (int j = 0; j < s.tokens;) {
    std::fill(part, part + s.columns, 0.0f);
    for (const int end = std::min(j + TOKENS_A_SUM, s.tokens); j < end; ++j) {
      rows.read(j, row);
      for (int c = 0; c < s.columns; c += LANES) store(part + c, load(part + c) + load(row + c));
    }
    for (int c = 0; c < s.width; ++c) sum[c] += part[c];
  }
}

// Lays out what a head of the image has, so that passes read it in order.
inline void Image::pack(const Call& call, const Sizes& s, Pass pass, int h) {
  alignas(64) float row[MOST_WIDTH] = {}, buffer[MOST_WIDTH];
  Floats longest = {};
  const int64_t map = index * s.heads + h;
  const Rows k(call, call.k, map), v(call, call.v, map);
  const bool sums = pass != MOMENTS && call.bias && !call.drops_mixed;
  if (sums) sum_tokens(v, s, values + h * s.width);
  if (pass == BACKWARD && sums) sum_tokens(Rows(call, call.grad, map), s, grads + h * s.width);
  for (int p = 0; p < s.panels; ++p) {
    float* k_columns = key_columns + p * s.panel_columns + int64_t(h) * s.columns * PANEL;
    float *k_rows = nullptr, *v_rows = nullptr, *v_columns = nullptr;
    if (pass == FORWARD) v_rows = value_rows + p * s.panel_rows + int64_t(h) * PANEL * s.columns;
    if (pass == BACKWARD) {
      k_rows = key_rows + p * s.panel_rows + int64_t(h) * PANEL * s.columns;
      v_columns = value_columns + p * s.panel_columns + int64_t(h) * s.columns * PANEL;
    }
    for (int j = 0; j < PANEL; ++j) {
      const bool there = j < s.keys(p);
      if (there) {
        k.read(p * PANEL + j, row);
      } else {
        std::fill(row, row + s.columns, 0.0f);
      }
      const float* terms = in_words(row, s.columns, buffer);
      for (int c = 0; c < words(s.width); ++c) k_columns[c * PANEL + j] = terms[c];
      if (k_rows) put_row(row, s.columns, j, k_rows);
      if (pass == MOMENTS) continue;
      if (there) v.read(p * PANEL + j, row);
      if (v_rows) put_row(row, s.columns, j, v_rows);
      if (!v_columns) continue;
      terms = in_words(row, s.columns, buffer);
      for (int c = 0; c < words(s.width); ++c) v_columns[c * PANEL + j] = terms[c];
    }
    for (int v = 0; v < 2; ++v) {
      Floats square = {};
      for (int c = 0; c < words(s.width); ++c)
        square += squares(load(k_columns + c * PANEL + v * LANES));
      longest = larger(square, longest);
    }
  }
  key_length[h] = std::sqrt(max_of(longest));
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

// One thread's way through blocks of query rows. A block has up to `tiles` tiles of R rows, which
// share what is read of a panel while it is near.
template <int R>
class Worker {
 public:
  static constexpr int TILE = R * PANEL;

  Worker(const Call& call, const Sizes& sizes, Pass pass, int tiles, Memory& memory)
      : totals(sizes, memory), call_(call), s_(sizes), pass_(pass), tiles_(tiles) {
    const int64_t heads = int64_t(tiles) * s_.heads, entries = heads * TILE;
    queries_ = memory.take<float>(heads * s_.width * R);
    maps_ = memory.take<float>(entries * s_.panels);
    mixed_ = memory.take<float>(entries);
    lse_ = memory.take<float>(heads * R);
    inverse_ = memory.take<float>(heads * R);
    sums_ = memory.take<Floats>(heads * R);
    if (call.pre) raw_ = memory.take<float>(entries * (pass == BACKWARD ? s_.panels : 1));
    for (auto [weight, turned] : {std::pair{call.pre, &pre_}, {call.post, &post_}})
      if (weight) *turned = memory.take<float>(s_.heads * s_.heads);
    if (call.products) products_ = memory.take<float>(s_.heads * s_.heads);
    if (pass != MOMENTS) rows_ = memory.take<float>(heads * R * s_.columns);
    if (pass != FORWARD) pairs_ = memory.take<Floats>(s_.heads * s_.heads);
    if (pass == BACKWARD) {
      if (call.pre) pre_pairs_ = memory.take<Floats>(s_.heads * s_.heads);
      query_rows_ = memory.take<float>(heads * R * s_.columns);
      grad_rows_ = memory.take<float>(heads * R * s_.columns);
      grad_columns_ = memory.take<float>(heads * s_.width * R);
      if (s_.unmixed) along_ = memory.take<float>(heads * R);
      else grads_ = memory.take<float>(entries * s_.panels);
      grad_maps_ = memory.take<float>(entries);
      seen_ = memory.take<float>(s_.heads * TILE);
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

  // Each does `count` tiles of rows from tile `first` on.
  void moments(const Image& image, int64_t first, int count);
  void forward(const Image& image, int64_t first, int count);
  // Adds to the gradients of keys and values, panels of columns.
  void backward(const Image& image, int64_t first, int count, float* grad_keys,
                float* grad_values);

  Totals totals;

 private:
  enum class Softmax { SUMS, LOGITS, KNOWN };

  // Tiles lie in memory as [panel][tile][head]; all that rows have as [tile][head][row].
  int64_t map(int h) const { return image_ * s_.heads + h; }
  int64_t place(int t, int h) const { return int64_t(t) * s_.heads + h; }
  float* tile(float* tiles, int t, int h = 0) const { return tiles + place(t, h) * TILE; }
  float* panel(float* tiles, int p) const { return tiles + p * place(tiles_, 0) * TILE; }
  int rows() const { return count_ * s_.heads * R; }
  // How many rows of a tile there are; the last one may be filled up.
  int there(int t) const { return std::min<int64_t>(R, s_.tokens - row_ - t * R); }

  void start_block(const Image& image, int64_t first, int count);
  void lay_out(const Array& x, int t, int h, float factor, float* columns, float* to) const;
  void multiply_outputs(int t);
  void probabilities(const Image& image, int p, bool divides, float* maps);
  void exponentials(const Image& image, bool is_safe);
  void start_sums(float start);
  void keep_lse();
  template <Softmax M>
  void softmax_panel(const Image& image, int p, float* to);
  template <Softmax M, int V>
  void softmax_tile(const float* key, int t, int h, int keys, float* to);
  template <Softmax M, int V>
  INLINE void finish_rows(Floats (&x)[R][V], int64_t place, int keys, float* to);
  void subtract_maxima();
  bool safe(const Image& image) const;

  // What follows acts on all heads of one tile of rows, t.
  void mix_probabilities(const float* maps, const float* inverse, float* mixed) const;
  void drop(float* maps, int t, int p) const;
  void normalize(float* maps, float* factors) const;
  void normalize_backward(const float* normal, float* grads);
  void add_map_bias(float* maps) const;
  void add_total(const float* maps, double* total) const;
  void backward_tile(int t, int p, float* maps, float* mixed, float* grads);
  void backward_unmixed(const Image& image, bool divides, float* grad_keys, float* grad_values);
  void write_grad_queries();
  void grad_probabilities(int t, int p, float* probabilities, float* grad_maps, float* grads);
  void clear_pairs();
  void add_pairs();
  void count_pairs() {
    if (++summed_ == PANELS_A_SUM) add_pairs();
  }

  const Call& call_;
  const Sizes& s_;
  const Pass pass_;
  const int tiles_;
  int64_t image_ = 0, row_ = 0;
  int count_ = 0, summed_ = 0;
  float *queries_, *maps_, *mixed_, *lse_, *inverse_, *raw_ = nullptr;
  float *pre_ = nullptr, *post_ = nullptr, *products_ = nullptr;
  float *rows_ = nullptr, *query_rows_, *grad_rows_, *grad_columns_, *grads_, *seen_;
  float *grad_maps_, *factors_, *along_;
  Floats *sums_, *pairs_ = nullptr, *pre_pairs_ = nullptr;
};

template <int R>
void Worker<R>::start_block(const Image& image, int64_t first, int count) {
  image_ = image.index;
  row_ = first * R;
  count_ = count;
  const bool knows_lse = call_.lse_known || pass_ == BACKWARD;
  for (int t = 0; t < count; ++t)
    for (int h = 0; h < s_.heads; ++h) {
      const int64_t rows = place(t, h) * R;
      float* to = pass_ == BACKWARD ? query_rows_ + rows / TERMS * s_.columns : nullptr;
      lay_out(call_.q, t, h, s_.query_scale, queries_ + rows * s_.width, to);
      if (knows_lse) {
        std::fill(lse_ + rows, lse_ + rows + R, 0.0f);
        std::copy_n(call_.lse + map(h) * s_.tokens + row_ + t * R, there(t), lse_ + rows);
      }
      if (pass_ != BACKWARD) continue;
      to = grad_rows_ + rows / TERMS * s_.columns;
      lay_out(call_.grad, t, h, 1, grad_columns_ + rows * s_.width, to);
      if (s_.unmixed) multiply_outputs(t);
    }
}

// Words of a tile's rows of a head, times a factor: by columns, and by rows too if asked; zeros where
// there are none.
template <int R>
void Worker<R>::lay_out(const Array& x, int t, int h, float factor, float* columns, float* to) const {
  const Rows source(call_, x, map(h));
  alignas(64) float row[MOST_WIDTH] = {}, buffer[MOST_WIDTH];
  for (int r = 0; r < R; ++r) {
    if (r < there(t)) {
      source.read(row_ + t * R + r, row);
      for (int c = 0; c < s_.columns; c += LANES) store(row + c, load(row + c) * factor);
    } else {
      std::fill(row, row + s_.columns, 0.0f);
    }
    const float* terms = in_words(row, s_.columns, buffer);
    for (int c = 0; c < words(s_.width); ++c) columns[c * R + r] = terms[c];
    if (to) put_row(row, s_.columns, r, to);
  }
}

// Σ dO · O of the rows of a tile.
template <int R>
void Worker<R>::multiply_outputs(int t) {
  const Rows out(call_, call_.out, map(0)), grads(call_, call_.grad, map(0));
  alignas(64) float row[MOST_WIDTH] = {}, grad[MOST_WIDTH] = {};
  for (int r = 0; r < R; ++r) {
    Floats sum = {};
    if (r < there(t)) {
      out.read(row_ + t * R + r, row);
      grads.read(row_ + t * R + r, grad);
      for (int c = 0; c < s_.columns; c += LANES) sum += load(row + c) * load(grad + c);
    }
    along_[t * R + r] = sum_of(sum);
  }
}

// Whether exp of the block's logits stays in the range of floats without a row maximum.
template <int R>
bool Worker<R>::safe(const Image& image) const {
  bool within = true;
  for (int t = 0; t < count_; ++t) {
    float reach[MOST_HEADS];
    for (int h = 0; h < s_.heads; ++h) {
      float most = 0, length[R] = {};
      const float* column = queries_ + place(t, h) * s_.width * R;
      for (int c = 0; c < words(s_.width); ++c, column += R)
        for (int r = 0; r < R; ++r) length[r] += square_of(column[r]);
      for (int r = 0; r < R; ++r) most = length[r] <= most ? most : length[r];
      reach[h] = std::sqrt(most) * std::fabs(s_.logit_scale) * image.key_length[h];
    }
    for (int h = 0; h < s_.heads; ++h) {
      float most = reach[h];
      if (call_.pre) {
        most = 0;
        for (int g = 0; g < s_.heads; ++g)
          most += std::fabs(call_.pre[h * s_.heads + g]) * reach[g];
      }
      within = within && most <= SAFE_LOGIT;
    }
  }
  return within;
}

// From logits of the rows at `place` to what the softmax needs of them, into a tile.
template <int R>
template <typename Worker<R>::Softmax M, int V>
INLINE void Worker<R>::finish_rows(Floats (&x)[R][V], int64_t place, int keys, float* to) {
  Floats* sum = sums_ + place * R;
  const float none = -std::numeric_limits<float>::infinity();
  UNROLL for (int r = 0; r < R; ++r) UNROLL for (int v = 0; v < V; ++v) {
    Floats value = x[r][v];
    if (keys < V * LANES) value = iota() + v * LANES < keys ? value : all(none);
    if constexpr (M == Softmax::SUMS) {
      value = exp_of(value);
      sum[r] += value;
    } else if constexpr (M == Softmax::KNOWN) {
      value = exp_of(value - lse_[place * R + r]);
    } else {
      sum[r] = larger(value, sum[r]);
    }
    store(to + r * PANEL + v * LANES, value);
  }
  if constexpr (V == 1)
    UNROLL for (int r = 0; r < R; ++r)
        store(to + r * PANEL + LANES, all(M == Softmax::LOGITS ? none : 0.0f));
}

template <int R>
template <typename Worker<R>::Softmax M, int V>
void Worker<R>::softmax_tile(const float* key, int t, int h, int keys, float* to) {
  Floats sum[R][V];
  scores<R, V>(queries_ + place(t, h) * s_.width * R, key, s_.width, s_.logit_scale, sum);
  finish_rows<M, V>(sum, place(t, h), keys, tile(to, t, h));
}

// All heads' exponentials, probabilities or mixed logits of a panel; raw logits too where there is
// a mix.
template <int R>
template <typename Worker<R>::Softmax M>
void Worker<R>::softmax_panel(const Image& image, int p, float* to) {
  const int keys = s_.keys(p);
  const float* key = image.key_columns + p * s_.panel_columns;
  float* raw = call_.pre ? (pass_ == BACKWARD ? panel(raw_, p) : raw_) : nullptr;
  for (int h = 0; h < s_.heads; ++h, key += s_.columns * PANEL)
    for (int t = 0; t < count_; ++t)
      if (raw) {
        scores_to<R>(queries_ + place(t, h) * s_.width * R, key, s_.width, s_.logit_scale,
                     tile(raw, t, h));
      } else if (keys > LANES) {
        softmax_tile<M, 2>(key, t, h, keys, to);
      } else {
        softmax_tile<M, 1>(key, t, h, keys, to);
      }
  if (!raw) return;
  for (int t = 0; t < count_; ++t) {
    mix<R>(pre_, s_.heads, nullptr, 0, tile(raw, t), tile(to, t));
    for (int h = 0; h < s_.heads; ++h) {
      float* logits = tile(to, t, h);
      Floats x[R][2];
      UNROLL for (int r = 0; r < R; ++r) UNROLL for (int v = 0; v < 2; ++v)
          x[r][v] = load(logits + r * PANEL + v * LANES);
      finish_rows<M, 2>(x, place(t, h), keys, logits);
    }
  }
}

// Exponentials of the block's rows, their log-sum-exp and the inverse of their sums.
template <int R>
void Worker<R>::exponentials(const Image& image, bool is_safe) {
  start_sums(is_safe ? 0.0f : -std::numeric_limits<float>::infinity());
  for (int p = 0; p < s_.panels; ++p)
    if (is_safe) {
      softmax_panel<Softmax::SUMS>(image, p, panel(maps_, p));
    } else {
      softmax_panel<Softmax::LOGITS>(image, p, panel(maps_, p));
    }
  if (!is_safe) subtract_maxima();
  keep_lse();
}

template <int R>
void Worker<R>::start_sums(float start) {
  std::fill(sums_, sums_ + rows(), all(start));
  std::fill(lse_, lse_ + rows(), 0.0f);
}

// From sums of exponentials, less what lse_ holds, to their inverse and the log-sum-exp.
template <int R>
void Worker<R>::keep_lse() {
  for (int i = 0; i < rows(); ++i) {
    const float sum = sum_of(sums_[i]);
    inverse_[i] = 1 / sum;
    lse_[i] += std::log(sum);
  }
  for (int t = 0; t < count_; ++t)
    for (int h = 0; h < s_.heads; ++h)
      std::copy_n(lse_ + place(t, h) * R, there(t),
                  call_.lse + map(h) * s_.tokens + row_ + t * R);
}

// Probabilities of a panel from the known log-sum-exp; of exponentials that lie there, from sums.
template <int R>
void Worker<R>::probabilities(const Image& image, int p, bool divides, float* maps) {
  if (!divides) return softmax_panel<Softmax::KNOWN>(image, p, maps);
  for (int i = 0; i < rows(); ++i)
    for (float* x = maps + int64_t(i) * PANEL; x < maps + int64_t(i + 1) * PANEL; x += LANES)
      store(x, load(x) * inverse_[i]);
}

// From logits and their maxima, in vectors of sums_, to exponentials and their sums.
template <int R>
void Worker<R>::subtract_maxima() {
  for (int i = 0; i < rows(); ++i) {
    lse_[i] = max_of(sums_[i]);
    sums_[i] = Floats{};
  }
  for (int p = 0; p < s_.panels; ++p)
    for (int i = 0; i < rows(); ++i)
      for (int v = 0; v < 2; ++v) {
        float* x = panel(maps_, p) + int64_t(i) * PANEL + v * LANES;
        const Floats value = exp_of(load(x) - lse_[i]);
        sums_[i] += value;
        store(x, value);
      }
}

// The post mix of probabilities, or of exponentials and what divides them.
template <int R>
void Worker<R>::mix_probabilities(const float* maps, const float* inverse, float* mixed) const {
  const float mean = 1.0f / s_.tokens;
  if (inverse && call_.centred) {
    mix<R, true, true>(post_, s_.heads, inverse, mean, maps, mixed);
  } else if (inverse) {
    mix<R, true>(post_, s_.heads, inverse, 0, maps, mixed);
  } else if (call_.centred) {
    mix<R, false, true>(post_, s_.heads, nullptr, mean, maps, mixed);
  } else {
    mix<R>(post_, s_.heads, nullptr, 0, maps, mixed);
  }
}

// Multiplies maps by the factors 0 and 1 / (1 − p), which depend on seed and place alone.
template <int R>
void Worker<R>::drop(float* maps, int t, int p) const {
  const uint32_t limit = static_cast<uint32_t>((1 - call_.dropout_p) * 4294967295.0);
  const Floats kept = all(static_cast<float>(1 / (1 - call_.dropout_p)));
  for (int h = 0; h < s_.heads; ++h)
    for (int r = 0; r < R; ++r) {
      const uint64_t row = map(h) * s_.tokens + row_ + t * R + r;
      const uint32_t seed = word_of(call_.seed, row);
      for (int v = 0; v < 2; ++v) {
        const Words key = (Words)(iota() + (p * PANEL + v * LANES)) * 0x9e3779b9u + seed;
        float* x = maps + (h * R + r) * PANEL + v * LANES;
        const Words word = hash_of(key);
        store(x, word < limit ? load(x) * kept : Floats{});
      }
    }
}

// LayerNorm over the heads of centred mixes, less weight and bias; keeps its factors if asked.
template <int R>
void Worker<R>::normalize(float* maps, float* factors) const {
  const float *bias = call_.norm_map_bias, share = 1.0f / s_.heads;
  for (int i = 0; i < TILE; i += LANES) {
    Floats squares = {};
    for (int h = 0; h < s_.heads; ++h) {
      Floats x = load(maps + h * TILE + i);
      if (bias) x += bias[h];
      squares += x * x;
    }
    alignas(64) float factor[LANES];
    store(factor, squares * share + float(call_.eps));
    for (int l = 0; l < LANES; ++l) factor[l] = 1 / std::sqrt(factor[l]);
    const Floats scale = load(factor);
    for (int h = 0; h < s_.heads; ++h) {
      float* x = maps + h * TILE + i;
      store(x, (bias ? load(x) + bias[h] : load(x)) * scale);
    }
    if (factors) store(factors + i, scale);
  }
}

template <int R>
void Worker<R>::add_map_bias(float* maps) const {
  for (int h = 0; h < s_.heads; ++h)
    for (int i = h * TILE; i < (h + 1) * TILE; i += LANES)
      store(maps + i, load(maps + i) + call_.bias[h]);
}

template <int R>
void Worker<R>::add_total(const float* maps, double* total) const {
  for (int h = 0; h < s_.heads; ++h) {
    Floats sum = {};
    for (int i = h * TILE; i < (h + 1) * TILE; i += LANES) sum += load(maps + i);
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
void Worker<R>::moments(const Image& image, int64_t first, int count) {
  start_block(image, first, count);
  exponentials(image, safe(image));
  const float mean = 1.0f / s_.tokens;
  for (int p = 0; p < s_.panels; ++p)
    for (int t = 0; t < count; ++t) {
      float* maps = tile(panel(maps_, p), t);
      const int keys = s_.keys(p), rows_there = there(t);
      if (call_.drops_probabilities) drop(maps, t, p);
      for (int h = 0; h < s_.heads; ++h)
        for (int r = 0; r < rows_there; ++r)
          for (int v = 0; v < 2; ++v) {
            float* x = maps + (h * R + r) * PANEL + v * LANES;
            const Floats centred = load(x) * inverse_[place(t, h) * R + r] - mean;
            store(x, iota() + v * LANES < keys ? centred : Floats{});
          }
      add_products<R>(maps, maps, s_.heads, rows_there, pairs_);
      if (call_.drops_probabilities)
        for (int h = 0; h < s_.heads; ++h) {
          Floats sum = {};
          for (int i = 0; i < rows_there * PANEL; i += LANES) sum += load(maps + h * TILE + i);
          totals.first[h] += sum_of(sum);
        }
      count_pairs();
    }
}

template <int R>
void Worker<R>::forward(const Image& image, int64_t first, int count) {
  start_block(image, first, count);
  const bool is_safe = safe(image), known = is_safe && call_.lse_known, divides = !known;
  // A mix needs the rows' sums first. Sums divide outputs alone where there is none.
  const bool sums_first = divides && (post_ || !is_safe);
  if (sums_first) exponentials(image, is_safe);
  if (!sums_first && divides) start_sums(0.0f);
  std::fill(rows_, rows_ + int64_t(rows()) * s_.columns, 0.0f);
  for (int p = 0; p < s_.panels; ++p) {
    float* maps = sums_first ? panel(maps_, p) : maps_;
    if (known) {
      softmax_panel<Softmax::KNOWN>(image, p, maps);
    } else if (!sums_first) {
      softmax_panel<Softmax::SUMS>(image, p, maps);
    }
    for (int t = 0; t < count; ++t) {
      if (call_.drops_probabilities) drop(tile(maps, t), t, p);
      float* mixed = post_ ? tile(mixed_, t) : tile(maps, t);
      const float* inverse = divides ? inverse_ + place(t, 0) * R : nullptr;
      if (post_) mix_probabilities(tile(maps, t), inverse, mixed);
      if (call_.norm_weight) normalize(mixed, nullptr);
      if (!call_.drops_mixed) continue;
      if (call_.bias) add_map_bias(mixed);
      drop(mixed, t, p);
    }
    const float* values = image.value_rows + p * s_.panel_rows;
    for (int h = 0; h < s_.heads; ++h)
      for (int t = 0; t < count; ++t)
        add_outputs<R>(tile(post_ ? mixed_ : maps, t, h), values + h * PANEL * s_.columns,
                       s_.columns, s_.keys(p), rows_ + place(t, h) * R * s_.columns);
  }
  if (!sums_first && divides) keep_lse();
  const bool adds_bias = call_.bias && !call_.drops_mixed;
  for (int t = 0; t < count; ++t)
    for (int h = 0; h < s_.heads; ++h) {
      const Rows out(call_, call_.out, map(h));
      for (int r = 0; r < there(t); ++r) {
        float* row = rows_ + (place(t, h) * R + r) * s_.columns;
        // A sum that no mix has divided by, and a weight of full maps, act on rows.
        float factor = divides && !post_ ? inverse_[place(t, h) * R + r] : 1.0f;
        if (call_.norm_weight) factor *= call_.norm_weight[h];
        const double* total = image.values + h * s_.width;
        const float bias = adds_bias ? call_.bias[h] : 0.0f;
        for (int c = 0; c < s_.width; ++c)
          row[c] = factor * row[c] + (adds_bias ? bias * static_cast<float>(total[c]) : 0.0f);
        out.write(row_ + t * R + r, row);
      }
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
      const Floats grad = load(grads + h * TILE + i), x = load(normal + h * TILE + i);
      weight_sum[h] += grad * x;
      mean += grad * call_.norm_weight[h];
      along += grad * x * call_.norm_weight[h];
    }
    mean *= share;
    along *= share;
    const Floats factor = load(factors_ + i);
    for (int h = 0; h < s_.heads; ++h) {
      float* grad = grads + h * TILE + i;
      const Floats x = load(normal + h * TILE + i);
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

// Gradient of P into `grads`, from that of A, which may be overwritten.
template <int R>
void Worker<R>::grad_probabilities(int t, int p, float* probabilities, float* grad_maps,
                                   float* grads) {
  const int heads = s_.heads;
  if (post_) {
    add_products<R>(grad_maps, probabilities, heads, there(t), pairs_);
    // post[h][g] is laid out as the turned mix of the other direction.
    mix<R>(call_.post, heads, nullptr, 0, grad_maps, grads);
  } else {
    std::memcpy(grads, grad_maps, heads * TILE * sizeof(float));
  }
  if (products_) mix<R, false, false, true>(products_, heads, nullptr, 0, probabilities, grads);
  if (call_.constant)
    for (int h = 0; h < heads; ++h)
      for (int i = h * TILE; i < (h + 1) * TILE; i += LANES)
        store(grads + i, load(grads + i) + call_.constant[h]);
  if (call_.drops_probabilities) drop(grads, t, p);
}

// From P and the gradient of A to A and the gradient of P, for one tile of rows.
template <int R>
void Worker<R>::backward_tile(int t, int p, float* maps, float* mixed, float* grads) {
  const int64_t bytes = s_.heads * TILE * sizeof(float);
  float *probabilities = maps, *grad_maps = tile(grad_maps_, t);
  if (call_.drops_probabilities) {
    std::memcpy(seen_, maps, bytes);
    drop(seen_, t, p);
    probabilities = seen_;
  } else if (call_.centred) {
    const float mean = 1.0f / s_.tokens;
    for (int i = 0; i < s_.heads * TILE; i += LANES) store(seen_ + i, load(maps + i) - mean);
    probabilities = seen_;
  }
  if (post_) {
    mix<R>(post_, s_.heads, nullptr, 0, probabilities, mixed);
  } else {
    std::memcpy(mixed, probabilities, bytes);
  }
  if (call_.norm_weight) normalize(mixed, factors_);
  if (call_.drops_mixed) {
    if (call_.bias) add_map_bias(mixed);
    drop(mixed, t, p);
    drop(grad_maps, t, p);
    if (call_.bias) add_total(grad_maps, totals.bias);
  }
  if (call_.norm_weight) normalize_backward(mixed, grad_maps);
  grad_probabilities(t, p, probabilities, grad_maps, grads);
}

template <int R>
void Worker<R>::backward(const Image& image, int64_t first, int count, float* grad_keys,
                         float* grad_values) {
  start_block(image, first, count);
  const int heads = s_.heads;
  const int64_t head_columns = int64_t(s_.columns) * PANEL, head_rows = int64_t(R) * s_.columns;
  const int64_t head_words = head_rows / TERMS;
  // A large log-sum-exp has too few digits after the point.
  const bool divides = !safe(image);
  if (divides) exponentials(image, false);
  std::fill(rows_, rows_ + int64_t(rows()) * s_.columns, 0.0f);
  if (s_.unmixed) return backward_unmixed(image, divides, grad_keys, grad_values);
  std::fill(sums_, sums_ + rows(), Floats{});
  for (int p = 0; p < s_.panels; ++p) {
    float *maps = panel(maps_, p), *grads = panel(grads_, p);
    probabilities(image, p, divides, maps);
    const float* value = image.value_columns + p * s_.panel_columns;
    for (int h = 0; h < heads; ++h)
      for (int t = 0; t < count; ++t)
        scores_to<R>(grad_columns_ + place(t, h) * s_.width * R, value + h * head_columns, s_.width,
                     1, tile(grad_maps_, t, h));
    for (int t = 0; t < count; ++t) {
      backward_tile(t, p, tile(maps, t), tile(mixed_, t), tile(grads, t));
      if (!call_.pre) count_pairs();
    }
    for (int i = 0; i < rows(); ++i)
      for (int v = 0; v < 2; ++v) {
        const int64_t at_entry = int64_t(i) * PANEL + v * LANES;
        sums_[i] += load(maps + at_entry) * load(grads + at_entry);
      }
    float* grad_value = grad_values + p * s_.panel_columns;
    for (int h = 0; h < heads; ++h)
      for (int t = 0; t < count; ++t)
        add_transposed(tile(mixed_, t, h), grad_rows_ + place(t, h) * head_words, R, s_.columns,
                       grad_value + h * head_columns);
  }
  for (int i = 0; i < rows(); ++i) inverse_[i] = sum_of(sums_[i]);
  for (int p = 0; p < s_.panels; ++p) {
    float *maps = panel(maps_, p), *grads = panel(grads_, p);
    for (int i = 0; i < rows(); ++i)
      for (int v = 0; v < 2; ++v) {
        const int64_t at_entry = int64_t(i) * PANEL + v * LANES;
        store(grads + at_entry, load(maps + at_entry) * (load(grads + at_entry) - inverse_[i]));
      }
    if (call_.pre) {
      for (int t = 0; t < count; ++t) {
        add_products<R>(tile(grads, t), tile(panel(raw_, p), t), heads, there(t), pre_pairs_);
        mix<R>(call_.pre, heads, nullptr, 0, tile(grads, t), tile(mixed_, t));
        count_pairs();
      }
      grads = mixed_;
    }
    const float* key = image.key_rows + p * s_.panel_rows;
    float* grad_key = grad_keys + p * s_.panel_columns;
    for (int h = 0; h < heads; ++h)
      for (int t = 0; t < count; ++t) {
        add_outputs<R>(tile(grads, t, h), key + int64_t(h) * PANEL * s_.columns, s_.columns,
                       s_.keys(p), rows_ + place(t, h) * head_rows);
        add_transposed(tile(grads, t, h), query_rows_ + place(t, h) * head_words, R, s_.columns,
                       grad_key + h * head_columns);
      }
  }
  write_grad_queries();
}

// One sweep over the keys of a head: Σ P · dP of a row, which the softmax needs, is Σ dO · O.
template <int R>
void Worker<R>::backward_unmixed(const Image& image, bool divides, float* grad_keys,
                                 float* grad_values) {
  const int64_t head_rows = int64_t(R) * s_.columns;
  const bool drops = call_.drops_probabilities || call_.drops_mixed;
  for (int p = 0; p < s_.panels; ++p) {
    float *maps = divides ? panel(maps_, p) : maps_, *dropped = drops ? mixed_ : maps;
    probabilities(image, p, divides, maps);
    if (drops) std::copy_n(maps, rows() * PANEL, dropped);
    for (int t = 0; t < count_; ++t) {
      float* grads = tile(grad_maps_, t);
      scores_to<R>(grad_columns_ + t * s_.width * R, image.value_columns + p * s_.panel_columns,
                   s_.width, 1, grads);
      if (drops) drop(tile(dropped, t), t, p);
      if (drops) drop(grads, t, p);
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < 2; ++v) {
          float* grad = grads + r * PANEL + v * LANES;
          const Floats map = load(tile(maps, t) + r * PANEL + v * LANES);
          store(grad, map * (load(grad) - along_[t * R + r]));
        }
      add_outputs<R>(grads, image.key_rows + p * s_.panel_rows, s_.columns, s_.keys(p),
                     rows_ + t * head_rows);
    }
    add_transposed(dropped, grad_rows_, count_ * R, s_.columns, grad_values + p * s_.panel_columns);
    add_transposed(grad_maps_, query_rows_, count_ * R, s_.columns,
                   grad_keys + p * s_.panel_columns);
  }
  write_grad_queries();
}

template <int R>
void Worker<R>::write_grad_queries() {
  for (int t = 0; t < count_; ++t)
    for (int h = 0; h < s_.heads; ++h) {
      const Rows grad_q(call_, call_.grad_q, map(h));
      for (int r = 0; r < there(t); ++r) {
        float* row = rows_ + (place(t, h) * R + r) * s_.columns;
        for (int c = 0; c < s_.width; ++c) row[c] *= float(call_.scale);
        grad_q.write(row_ + t * R + r, row);
      }
    }
}
