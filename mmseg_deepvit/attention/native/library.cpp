// Head-mixing attention on CPUs without a map in memory: what the Python side calls.
//
// The passes are compiled once for each instruction set, from the same source; the caller names the
// set, and supported() says which ones this processor has.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "call.h"
#include "numbers.h"
#include "threads.h"

#if defined(__x86_64__) && !defined(__clang__) && __GNUC__ >= 10
#define HAS_BFLOAT_SET 1
#include <immintrin.h>
#endif

constexpr int MOST_HEADS = 32, MOST_WIDTH = 128;

#if HAS_BFLOAT_SET

#pragma GCC push_options
#pragma GCC target("avx512bf16,avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
namespace avx512_bfloat {
#define LANES 16
#define REGISTERS 32
#define PAIRS 1
#include "instruction_set.inc"
}  // namespace avx512_bfloat
#pragma GCC pop_options

#endif

#if defined(__x86_64__)

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
namespace avx512 {
#define LANES 16
#define REGISTERS 32
#define PAIRS 0
#include "instruction_set.inc"
}  // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define LANES 8
#define REGISTERS 16
#define PAIRS 0
#include "instruction_set.inc"
}  // namespace avx2
#pragma GCC pop_options

#endif

namespace portable {
#define LANES 4
#if defined(__aarch64__)
#define REGISTERS 32
#else
#define REGISTERS 16
#endif
#define PAIRS 0
#include "instruction_set.inc"
}  // namespace portable

// Whether bfloat16 is multiplied as it is, two terms at once: all inputs must be of it.
static bool multiplies_bfloats(const Call& call) {
#if HAS_BFLOAT_SET
  static const bool supported = __builtin_cpu_supports("avx512bf16");
  for (const Array* x : {&call.q, &call.k, &call.v, &call.grad})
    if (x->data && x->dtype != BFLOAT16) return false;
  return supported;
#else
  return false;
#endif
}

extern "C" {

// Whether this processor runs what is compiled for an instruction set: 0 portable (on 64-bit ARM,
// NEON), 1 AVX2 with FMA, 2 AVX-512.
int mmseg_deepvit_supported(int64_t set) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (set == 2)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (set == 1) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return set == 0;
}

// Makes one pass. Returns 0, or 1 where there is no memory for it.
int mmseg_deepvit_run(const Call* call, int64_t pass, int64_t set) {
  try {
#if defined(__x86_64__)
#if HAS_BFLOAT_SET
    if (set == 2 && multiplies_bfloats(*call))
      return avx512_bfloat::run(*call, static_cast<Pass>(pass)), 0;
#endif
    if (set == 2) return avx512::run(*call, static_cast<Pass>(pass)), 0;
    if (set == 1) return avx2::run(*call, static_cast<Pass>(pass)), 0;
#endif
    return portable::run(*call, static_cast<Pass>(pass)), 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}
}
