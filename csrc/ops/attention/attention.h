// Causal attention over packed documents: what the kernels take. Pointers and sizes only; no tensor
// is known here.
//
//   out[b,t,h] = sum_j softmax_j(scale * <q[b,t,h], k[b,j,h']>) v[b,j,h'],  row_start[b,t] <= j <=
//   t,  h' = h / (H / Hkv)
//
// row_start is clamped to [0, t] (a query sees at least itself) and must not decrease along t.
// Non-finite inputs: a query that sees a key or value with NaN or infinity in it (or is one) gives
// a row of NaN; every other row is bit for bit what it would be had that position held zeros. So a
// poisoned document stays alone. Of finite inputs, a score that overflows float32 gives a row of
// NaN upwards and a weight of zero downwards.
#pragma once

#include <cstdint>
#include <memory>

#include "common/isa.h"
#include "common/parallel.h"

namespace snakelm {

// A [B, T, H, D] array, its last dimension dense; strides in elements.
struct AttentionView {
  const void* data = nullptr;
  int64_t batch = 0, time = 0, head = 0;
};

enum class AttentionType : int { float32 = 0, bfloat16 = 1, float16 = 2 };

// log_sum holds for each query the maximum of <q, k>, and the natural log of the sum of exp(scale
// (<q, k> - maximum)). Apart, since their sum would round: at scores of 1e9 by 32, in an exponent.
struct AttentionProblem {
  int64_t batch = 0, time = 0, heads = 0, kv_heads = 0, head_dim = 0;
  float scale = 0;
  AttentionType type = AttentionType::float32;
  AttentionView q, k, v;               // [B, T, H, D], [B, T, Hkv, D], [B, T, Hkv, D]
  const int32_t* row_start = nullptr;  // [B, T] dense, or null: every query sees from 0
  void* out = nullptr;                 // [B, T, H, D] dense; backward reads it
  float* log_sum = nullptr;            // [B, H, 2, T]; backward reads it
  AttentionView grad_out;              // backward only, as are the rest
  void* grad_q = nullptr;              // [B, T, H, D] dense
  void* grad_k = nullptr;              // [B, T, Hkv, D] dense
  void* grad_v = nullptr;              // [B, T, Hkv, D] dense
};

// level: as isa_level takes it. Null on success, else a message. `threads` is only a hint for how
// finely to cut the work: results never depend on it.
const char* attention_forward_cpu(const AttentionProblem& problem, int level, int threads,
                                  ParallelFor parallel_for);
const char* attention_backward_cpu(const AttentionProblem& problem, int level, int threads,
                                   ParallelFor parallel_for);

// One instruction set's kernels. A forward item is a run of query tiles of one (batch, kv head); a
// backward item is a run of keys of one (batch, kv head) with all queries that see them, and writes
// its share of grad_q, unscaled, to `grad_q`, float [heads, T - first_row, D]; null where there is
// but one share.
struct AttentionItem {
  int64_t batch, kv_head, first_head, last_head, first_row, last_row;
  float* grad_q = nullptr;
};

// Backward's cut of T: it depends on the problem alone, so that sums have one order.
struct AttentionParts {
  int64_t keys = 0, count = 1;      // a part's, and how many there are
  std::unique_ptr<float[]> shares;  // of grad_q, where there are several

  // Floats before a part's share within its (batch, kv head): earlier parts are seen by more rows.
  int64_t offset(const AttentionProblem& problem, int64_t part) const {
    const int64_t rows = part * problem.time - keys * (part * (part - 1) / 2);
    return problem.heads / problem.kv_heads * rows * problem.head_dim;
  }
  float* share(const AttentionProblem& problem, int64_t pair, int64_t part) const {
    return shares.get() + pair * offset(problem, count) + offset(problem, part);
  }
};

struct AttentionKernels {
  void (*forward)(const AttentionProblem&, const AttentionItem&) = nullptr;
  void (*backward)(const AttentionProblem&, const AttentionItem&) = nullptr;
  // One head's rows of grad_q.
  void (*sum_grad_q)(const AttentionProblem&, const AttentionItem&,
                     const AttentionParts&) = nullptr;
};
// Query rows of a forward item, and keys of a backward part, are multiples of these (but the last).
constexpr int64_t ATTENTION_TILE = 192, ATTENTION_KEYS = 128;

// In attention_kernel.cpp. Null members: nothing gained over the instruction set below for this
// type.
SNAKELM_DECLARE_KERNEL(AttentionKernels, attention_kernels, (AttentionType type))

}  // namespace snakelm

#if defined(SNAKELM_WITH_CUDA) || defined(__CUDACC__)
// On the current device; stream is a cudaStream_t. Return a cudaError_t, named by
// snakelm_cuda_error. The head dimension is at most 128. workspace: float [B, H, T].
extern "C" int snakelm_attention_forward_cuda(const snakelm::AttentionProblem* problem,
                                              void* stream);
extern "C" int snakelm_attention_backward_cuda(const snakelm::AttentionProblem* problem,
                                               float* workspace, void* stream);
extern "C" const char* snakelm_cuda_error(int code);
#endif
