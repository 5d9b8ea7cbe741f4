// delta = <grad_out, out> of each query, which every backward begins with: float [B, H, T].
#pragma once

#include "ops/attention/attention_mma.cuh"

namespace snakelm {

constexpr int DELTA_WARPS = 8;

SNAKELM_DEVICE float warp_sum(float x) {
  for (int step = WARP_LANES / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
  return x;
}

// One warp a row.
template <class In>
__global__ void delta_kernel(AttentionProblem p, float* delta) {
  const int64_t rows = p.batch * p.heads * p.time;
  const int64_t row =
      static_cast<int64_t>(blockIdx.x) * DELTA_WARPS + static_cast<int>(threadIdx.x) / WARP_LANES;
  if (row >= rows) return;

  const int64_t t = row % p.time, head = row / p.time % p.heads, batch = row / p.time / p.heads;
  const In* const out =
      static_cast<const In*>(p.out) + ((batch * p.time + t) * p.heads + head) * p.head_dim;
  const AttentionView& g = p.grad_out;
  const In* const grad_out =
      static_cast<const In*>(g.data) + batch * g.batch + t * g.time + head * g.head;

  float sum = 0;
  for (int64_t d = lane_index(); d < p.head_dim; d += WARP_LANES)
    sum += widen(out[d]) * widen(grad_out[d]);
  sum = warp_sum(sum);
  if (lane_index() == 0) delta[row] = sum;
}

template <class In>
int compute_delta(const AttentionProblem& p, float* delta, Stream stream) {
  const int64_t rows = p.batch * p.heads * p.time;
  const dim3 grid(static_cast<unsigned>((rows + DELTA_WARPS - 1) / DELTA_WARPS));
  return launch(delta_kernel<In>, grid, DELTA_WARPS * WARP_LANES, 0, stream, p, delta);
}

}  // namespace snakelm
