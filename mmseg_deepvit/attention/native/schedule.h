// How a call's images and rows are shared out to threads. Included once for each instruction set,
// inside a namespace of its own.

// Floating-point operations that a second thread is worth.
constexpr double WORK_A_THREAD = 2e6;
// Memory that stays near while a block of rows is worked on.
constexpr int64_t NEAR_BYTES = 512 * 1024;

// Gradients of keys and values that one thread sums up for one image, in panels of columns.
struct Sums {
  float *keys, *values;

  Sums(const Sizes& s, Memory& memory)
      : keys(memory.take<float>(s.panels * s.panel_columns)),
        values(memory.take<float>(s.panels * s.panel_columns)) {}
  void clear(const Sizes& s) {
    for (float* x : {keys, values}) std::fill(x, x + s.panels * s.panel_columns, 0.0f);
  }
  // Adds what another thread summed up for a head.
  void add(const Sizes& s, const Sums& other, int h) {
    const int64_t count = int64_t(s.columns) * PANEL;
    for (int64_t i = h * count; i < s.panels * s.panel_columns; i += s.panel_columns)
      for (int64_t j = i; j < i + count; j += LANES) {
        store(keys + j, load(keys + j) + load(other.keys + j));
        store(values + j, load(values + j) + load(other.values + j));
      }
  }
};

// Writes the gradients of a head.
static void write_gradients(const Call& call, const Sizes& s, const Image& image, int h,
                            const Sums& sums) {
  const int64_t map = image.index * s.heads + h;
  const Rows grad_k(call, call.grad_k, map), grad_v(call, call.grad_v, map);
  const float weight = call.norm_weight ? call.norm_weight[h] : 1.0f;
  const bool adds_bias = call.bias && !call.drops_mixed;
  float added[MOST_WIDTH] = {};
  if (adds_bias)
    for (int c = 0; c < s.width; ++c)
      added[c] = call.bias[h] * static_cast<float>(image.grads[h * s.width + c]);
  const int64_t place = int64_t(h) * s.columns * PANEL;
  float row[MOST_WIDTH];
  for (int j = 0; j < s.tokens; ++j) {
    const int64_t at_key = j / PANEL * s.panel_columns + place + j % PANEL;
    const float *key = sums.keys + at_key, *value = sums.values + at_key;
    for (int c = 0; c < s.width; ++c) row[c] = s.logit_scale * key[c * PANEL];
    grad_k.write(j, row);
    for (int c = 0; c < s.width; ++c) row[c] = weight * value[c * PANEL] + added[c];
    grad_v.write(j, row);
  }
}

// Σ grad · out of each head; Σ over images of Σ grad · Σ v over tokens.
static void add_totals(const Call& call) {
  const Sizes s(call, TOTALS);
  std::vector<double> parts(2 * call.batch * s.heads);
  in_threads(call.parallel, call.threads, [&](int64_t t) {
    const int64_t units = call.batch * s.heads;
    for (int64_t i = t * units / call.threads; i < (t + 1) * units / call.threads; ++i) {
      const Rows v(call, call.v, i), grads_of(call, call.grad, i), outputs(call, call.out, i);
      double values[MOST_WIDTH], grads[MOST_WIDTH] = {}, product = 0;
      float grad[MOST_WIDTH], out[MOST_WIDTH];
      sum_tokens(v, s, values);
      for (int j = 0; j < s.tokens; ++j) {
        grads_of.read(j, grad);
        for (int c = 0; c < s.width; ++c) grads[c] += grad[c];
        outputs.read(j, out);
        for (int c = 0; c < s.width; ++c) product += double(grad[c]) * out[c];
      }
      parts[2 * i] = product;
      for (int c = 0; c < s.width; ++c) parts[2 * i + 1] += values[c] * grads[c];
    }
  });
  for (int64_t i = 0; i < call.batch * s.heads; ++i) {
    call.totals[i % s.heads] += parts[2 * i];
    call.totals[s.heads + i % s.heads] += parts[2 * i + 1];
  }
}

template <int R>
class Schedule {
 public:
  Schedule(const Call& call, Pass pass, int64_t threads)
      : call_(call), pass_(pass), s_(call, pass), threads_(threads),
        tiles_((call.tokens + R - 1) / R), tiles_a_block_(tiles_a_block(pass, threads)) {
    Memory counted(nullptr);
    lay_out(counted);
    memory_.reset(new char[counted.used() + 64]);
    const auto start = reinterpret_cast<uintptr_t>(memory_.get());
    Memory memory(memory_.get() + (64 - start % 64) % 64);
    images_.clear();
    workers_.clear();
    sums_.clear();
    lay_out(memory);
  }

  void run() {
    in_threads(call_.parallel, threads_, [&](int64_t t) { workers_[t].start(); });
    const int64_t rounds = s_.images / threads_, rest = s_.images % threads_;
    if (rounds)
      in_threads(call_.parallel, threads_, [&](int64_t t) {
        for (int64_t i = 0; i < rounds; ++i) do_image(t, i * threads_ + t);
      });
    if (rest) share_images(s_.images - rest, rest);
    for (Worker<R>& worker : workers_) worker.finish();
    add_totals();
  }

 private:
  // Images of which threads have one each, or that all threads share.
  int64_t images_at_once() const { return std::min(s_.images, threads_); }

  void lay_out(Memory& memory) {
    for (int64_t i = 0; i < images_at_once(); ++i) images_.emplace_back(call_, s_, pass_, memory);
    for (int64_t t = 0; t < threads_; ++t) 
      workers_.emplace_back(call_, s_, pass_, tiles_a_block_, memory);
    if (pass_ == BACKWARD)
      for (int64_t t = 0; t < 2 * threads_; ++t) sums_.emplace_back(s_, memory);
  }

  // More tiles share what is read of keys and values, and of their gradients, but what is kept of
  // them must stay near.
  int tiles_a_block(Pass pass, int64_t threads) const {
    const int64_t kept = int64_t(R) * s_.heads * s_.panels * PANEL * sizeof(float);
    const bool keeps = pass == MOMENTS || (pass == FORWARD && !call_.lse_known);
    const int64_t near = keeps ? NEAR_BYTES / kept : MOST_TILES;
    const int64_t fair = (tiles_ * s_.images + threads - 1) / threads;
    return std::max<int64_t>(1, std::min<int64_t>({near, fair, MOST_TILES}));
  }

  // Tiles `from` to `to`, less one, of an image.
  void do_tiles(int64_t t, const Image& image, int64_t from, int64_t to, Sums* sums) {
    for (int count; from < to; from += count) {
      count = std::min<int64_t>(tiles_a_block_, to - from);
      if (pass_ == MOMENTS) workers_[t].moments(image, from, count);
      if (pass_ == FORWARD) workers_[t].forward(image, from, count);
      if (pass_ == BACKWARD) workers_[t].backward(image, from, count, sums->keys, sums->values);
    }
  }

  // Gradients of an image's head; thread t writes them.
  void write(int64_t t, const Image& image, int h, const Sums& sums) {
    write_gradients(call_, s_, image, h, sums);
    if (!call_.grad_bias || call_.drops_mixed) return;
    // A bias of outputs alone: Σ over tokens of gradients, times Σ of values.
    const double *value = image.values + h * s_.width, *grad = image.grads + h * s_.width;
    for (int c = 0; c < s_.width; ++c) workers_[t].totals.bias[h] += value[c] * grad[c];
  }

  // One thread does one image.
  void do_image(int64_t t, int64_t index) {
    Image& image = images_[t];
    image.index = index;
    Sums* sums = pass_ == BACKWARD ? &sums_[2 * t] : nullptr;
    if (sums) sums->clear(s_);
    for (int h = 0; h < s_.heads; ++h) image.pack(call_, s_, pass_, h);
    do_tiles(t, image, 0, tiles_, sums);
    if (!sums) return;
    for (int h = 0; h < s_.heads; ++h) write(t, image, h, *sums);
  }

  // All threads share fewer images than there are threads: a thread's rows lie in at most two.
  void share_images(int64_t first, int64_t count) {
    const int64_t units = count * tiles_, heads = count * s_.heads;
    const auto start = [&](int64_t t) { return t * units / threads_; };
    for (int64_t i = 0; i < count; ++i) images_[i].index = first + i;
    in_threads(call_.parallel, threads_, [&](int64_t t) {
      for (int64_t i = t * heads / threads_; i < (t + 1) * heads / threads_; ++i)
        images_[i / s_.heads].pack(call_, s_, pass_, i % s_.heads);
    });
    in_threads(call_.parallel, threads_, [&](int64_t t) {
      for (int64_t i = start(t), end; i < start(t + 1); i = end) {
        const int64_t image = i / tiles_;
        end = std::min(start(t + 1), (image + 1) * tiles_);
        Sums* sums = nullptr;
        if (pass_ == BACKWARD) {
          sums = &sums_[2 * t + (image - start(t) / tiles_)];
          sums->clear(s_);
        }
        do_tiles(t, images_[image], i - image * tiles_, end - image * tiles_, sums);
      }
    });
    if (pass_ != BACKWARD) return;
    in_threads(call_.parallel, threads_, [&](int64_t t) {
      for (int64_t i = t * heads / threads_; i < (t + 1) * heads / threads_; ++i) {
        const int64_t image = i / s_.heads;
        Sums* first_part = nullptr;
        for (int64_t u = 0; u < threads_; ++u) {
          if (start(u) == start(u + 1)) continue;
          const int64_t from = start(u) / tiles_, to = (start(u + 1) - 1) / tiles_;
          if (image < from || image > to) continue;
          Sums& part = sums_[2 * u + (image - from)];
          if (first_part) {
            first_part->add(s_, part, i % s_.heads);
          } else {
            first_part = &part;
          }
        }
        write(t, images_[image], i % s_.heads, *first_part);
      }
    });
  }

  void add_totals() {
    const int H = s_.heads;
    const auto add = [&](double* to, double* Totals::*part, int64_t count, int lanes, double factor) {
      if (!to) return;
      for (int64_t i = 0; i < count; ++i) {
        double sum = 0;
        for (Worker<R>& worker : workers_)
          for (int l = 0; l < lanes; ++l) sum += (worker.totals.*part)[i * lanes + l];
        to[i] = factor * sum;
      }
    };
    if (pass_ == MOMENTS) {
      add(call_.first, &Totals::first, H, 1, 1);
      add(call_.second, &Totals::second, H * H, LANES, 1);
      // What was summed up is P − 1/N; rows of P sum to one unless they are dropped out.
      const double rows = double(call_.batch) * s_.tokens;
      for (int h = 0; h < H; ++h) call_.first[h] += rows;
      for (int h = 0; h < H; ++h)
        for (int g = h; g < H; ++g) {
          const double shift = (call_.first[h] + call_.first[g]) / s_.tokens - call_.batch;
          call_.second[h * H + g] = call_.second[g * H + h] = call_.second[h * H + g] + shift;
        }
    }
    if (pass_ == BACKWARD) {
      add(call_.grad_pre, &Totals::pre, H * H, LANES, 1);
      add(call_.grad_post, &Totals::second, H * H, LANES, 1);
      add(call_.grad_norm_weight, &Totals::norm_weight, H, 1, 1);
      add(call_.grad_norm_map_bias, &Totals::norm_map_bias, H, 1, 1);
      add(call_.grad_bias, &Totals::bias, H, 1, 1);
    }
  }

  const Call& call_;
  const Pass pass_;
  const Sizes s_;
  const int64_t threads_, tiles_;
  const int tiles_a_block_;
  std::unique_ptr<char[]> memory_;
  std::vector<Image> images_;
  std::vector<Worker<R>> workers_;
  std::vector<Sums> sums_;
};

// Rows that tiles of R take in the thread that has most of them.
static double cost_of_rows(const Sizes& s, int64_t threads, int rows) {
  const int64_t tiles = (s.tokens + rows - 1) / rows;
  const int64_t rest = s.images % threads;
  return double(rows) * (s.images / threads * tiles + (rest * tiles + threads - 1) / threads);
}

static void run(const Call& call, Pass pass) {
  if (pass == TOTALS) return add_totals(call);
  const double work = 2.0 * call.batch * call.heads * call.tokens * call.tokens *
                      (2 * call.width + call.heads);
  const int64_t threads =
      std::max<int64_t>(1, std::min<int64_t>(call.threads, int64_t(work / WORK_A_THREAD)));
  // Fewer rows hold fewer sums in registers, so they are a little slower.
  const Sizes s(call, pass);
  if (cost_of_rows(s, threads, MOST_ROWS) <= 1.04 * cost_of_rows(s, threads, LEAST_ROWS)) {
    Schedule<MOST_ROWS>(call, pass, threads).run();
  } else {
    Schedule<LEAST_ROWS>(call, pass, threads).run();
  }
}
