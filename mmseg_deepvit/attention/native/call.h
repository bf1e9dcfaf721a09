// What a call of head-mixing attention is, as the Python side hands it over (see library.py).
//
// Nothing here depends on PyTorch: arrays are pointers with strides, so one binary serves all of its
// versions. Shapes: B images, H heads, N tokens, d the width of a head.
#pragma once
#include <cstdint>

enum Dtype : int64_t { FLOAT32 = 0, FLOAT16 = 1, BFLOAT16 = 2 };

// A (B, H, N, d) array; strides count elements.
struct Array {
  void* data;
  int64_t dtype, images, heads, tokens, columns;
};

// Runs work(data) in `threads` threads, as libgomp's function of this name does.
using Parallel = void (*)(void (*work)(void*), void* data, unsigned threads, unsigned flags);

struct Call {
  int64_t batch, heads, tokens, width;
  Array q, k, v;
  Array out;                     // written by forward; read by totals, and backward without mixes
  Array grad;                    // gradient of the output
  Array grad_q, grad_k, grad_v;  // written by backward
  const float* pre;              // (H, H) mix of the logits, or null; so all that follows
  const float* post;             // (H, H) mix of the probabilities
  const float* bias;             // (H), added to the final map
  const float* norm_weight;      // (H), of a LayerNorm over the heads
  const float* norm_map_bias;    // (H), centred bias of the mix before that norm
  const float* products;         // (H, H): products @ P is added to the gradient of P
  const float* constant;         // (H), added to the gradient of P
  float* lse;                    // (B, H, N) log-sum-exp of the rows
  double* first;                 // (H), Σ P
  double* second;                // (H, H), Σ P_h P_g
  double* totals;                // (2, H): Σ grad · out; Σ over images of Σ grad · Σ v over tokens
  double* grad_pre;              // (H, H)
  double* grad_post;             // (H, H)
  double* grad_bias;             // (H)
  double* grad_norm_weight;      // (H)
  double* grad_norm_map_bias;    // (H)
  Parallel parallel;             // null: threads of the standard library
  uint64_t seed;
  int64_t threads;
  int64_t lse_known, centred;  // centred: the post mix acts on P − 1/N
  int64_t drops_probabilities, drops_mixed;
  double scale, eps, dropout_p;
};

enum Pass : int64_t { MOMENTS = 0, FORWARD = 1, BACKWARD = 2, TOTALS = 3 };
