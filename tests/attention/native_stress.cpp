// Random calls of the compiled passes, for sanitizers: sizes, strides, dtypes and settings.
//
// Results of all sets of instructions that the processor has must agree with those of the first.
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "library.cpp"

namespace {

std::mt19937 generator(7);

int64_t pick(int64_t from, int64_t to) {
  return std::uniform_int_distribution<int64_t>(from, to)(generator);
}

float draw() { return std::normal_distribution<float>()(generator); }

// A (B, H, N, d) array of its own memory, whose dimensions lie in a random order.
struct Owned {
  std::vector<uint16_t> halves;
  std::vector<float> floats;
  Array array{};

  Owned(const Call& call, int64_t dtype, bool filled) {
    int64_t sizes[4] = {call.batch, call.heads, call.tokens, call.width}, strides[4];
    int order[4] = {0, 1, 2, 3};
    std::shuffle(order, order + 4, generator);
    int64_t count = 1;
    for (int i : order) {
      strides[i] = count;
      count *= sizes[i] + pick(0, 1);
    }
    // Exactly as much as the last entry needs, so that a step too far is found.
    count = 1;
    for (int i = 0; i < 4; ++i) count += (sizes[i] - 1) * strides[i];
    if (dtype == FLOAT32) {
      floats.resize(count);
      for (float& x : floats) x = filled ? draw() : 0;
    } else {
      halves.resize(count);
      for (uint16_t& x : halves)
        x = !filled ? 0 : dtype == FLOAT16 ? half_of_float(draw()) : bfloat_of_float(draw());
    }
    void* data = dtype == FLOAT32 ? static_cast<void*>(floats.data()) : halves.data();
    array = {data, dtype, strides[0], strides[1], strides[2], strides[3]};
  }
};

std::vector<float> weights(int64_t count) {
  std::vector<float> x(count);
  for (float& value : x) value = draw() / 4;
  return x;
}

double checksum(const Owned& x) {
  double sum = 0;
  for (float value : x.floats) sum += std::fabs(value);
  for (uint16_t bits : x.halves)
    sum += std::fabs(x.array.dtype == FLOAT16 ? float_of_half(bits) : float_of_bfloat(bits));
  return sum;
}

double checksum(const std::vector<double>& x) {
  double sum = 0;
  for (double value : x) sum += std::fabs(value);
  return sum;
}

void compare(double ours, double first, double tolerance, const char* what) {
  if (std::fabs(ours - first) <= tolerance * (std::fabs(first) + 1)) return;
  std::fprintf(stderr, "%s differs: %g and %g\n", what, ours, first);
  std::exit(1);
}

void one_call() {
  Call call{};
  call.batch = pick(1, 4), call.heads = pick(1, 14), call.tokens = pick(1, 90);
  call.width = pick(1, 70);
  const int64_t H = call.heads, dtype = pick(0, 2);
  Owned q(call, dtype, true), k(call, dtype, true), v(call, dtype, true), out(call, dtype, false);
  Owned grad(call, dtype, true), grad_q(call, dtype, false), grad_k(call, dtype, false);
  Owned grad_v(call, dtype, false);
  const auto pre = weights(H * H), post = weights(H * H), bias = weights(H), norm = weights(H);
  const auto map_bias = weights(H), products = weights(H * H), constant = weights(H);
  std::vector<float> lse(call.batch * H * call.tokens);
  std::vector<double> first(H), second(H * H), grad_pre(H * H), grad_post(H * H), grad_bias(H);
  std::vector<double> grad_norm(H), grad_map_bias(H), totals(2 * H);
  const bool has_post = pick(0, 3), layer = has_post && !pick(0, 3), batch = !layer && pick(0, 1);
  call.q = q.array, call.k = k.array, call.v = v.array;
  call.grad_q = grad_q.array, call.grad_k = grad_k.array, call.grad_v = grad_v.array;
  if (pick(0, 1)) call.pre = pre.data(), call.grad_pre = grad_pre.data();
  if (has_post) {
    call.post = post.data(), call.grad_post = grad_post.data();
    if (pick(0, 1)) call.bias = bias.data(), call.grad_bias = grad_bias.data();
  }
  if (layer) {
    call.norm_weight = norm.data(), call.norm_map_bias = map_bias.data();
    call.grad_norm_weight = grad_norm.data(), call.grad_norm_map_bias = grad_map_bias.data();
  } else if (!pick(0, 2)) {
    call.drops_mixed = pick(0, 1);
    call.drops_probabilities = !call.drops_mixed;
    call.dropout_p = 0.25;
  }
  if (batch && has_post) call.products = products.data(), call.constant = constant.data();
  call.centred = pick(0, 1);
  call.lse = lse.data(), call.first = first.data(), call.second = second.data();
  call.totals = totals.data();
  call.seed = generator(), call.threads = 3, call.eps = 1e-5;
  call.scale = pick(0, 4) ? 0.2 : 20;  // the latter needs row maxima
  std::vector<double> sums;
  for (int64_t set = 0; set < 3; ++set) {
    if (!mmseg_deepvit_supported(set)) continue;
    // Where bfloat16 is multiplied as it is, maps are rounded to it.
    const double tolerance = set == 2 && multiplies_bfloats(call) ? 2e-2 : 1e-3;
    std::vector<double> found;
    call.out = out.array;
    call.lse_known = 0;
    if (!layer && mmseg_deepvit_run(&call, MOMENTS, set)) std::exit(2);
    found = {checksum(first), checksum(second)};
    call.lse_known = !layer;
    if (mmseg_deepvit_run(&call, FORWARD, set)) std::exit(2);
    call.grad = grad.array;
    call.lse_known = 1;
    std::fill(totals.begin(), totals.end(), 0.0);
    if (mmseg_deepvit_run(&call, TOTALS, set)) std::exit(2);
    found.push_back(checksum(totals));
    if (mmseg_deepvit_run(&call, BACKWARD, set)) std::exit(2);
    for (const Owned* x : {&out, &grad_q, &grad_k, &grad_v}) found.push_back(checksum(*x));
    for (const auto* x : {&grad_pre, &grad_post, &grad_bias, &grad_norm, &grad_map_bias})
      found.push_back(checksum(*x));
    if (sums.empty()) sums = found;
    const char* names[] = {"first", "second", "totals", "out", "grad q", "grad k", "grad v", "grad pre",
                           "grad post", "grad bias", "grad norm", "grad map bias"};
    for (size_t i = 0; i < found.size(); ++i) compare(found[i], sums[i], tolerance, names[i]);
  }
}

}  // namespace

int main(int, char** arguments) {
  const int count = std::atoi(arguments[1]);
  for (int i = 0; i < count; ++i) one_call();
  std::printf("%d calls\n", count);
}
