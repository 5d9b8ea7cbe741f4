// Causal attention over packed documents on a GPU: correct, deterministic and simple; no tensor
// cores yet.
//
// One block holds 32 rows, one warp four of them, and walks tiles of 32 columns through shared
// memory. In a tile each lane owns one column: it forms the score of that column with each of the
// warp's rows. Then the lanes change roles, each owning some of the D dimensions, and the columns'
// weights come round by shuffles.
//   forward    rows are queries, columns keys:  online softmax, o += p v
//   grad_q     rows are queries, columns keys:  p from log_sum, ds = p (dp - delta), dq += ds k
//   grad_kv    rows are keys, columns queries:  dv += p do, dk += ds q, over all query heads of
//                                               the key head
//
// Memory: nothing of T x T. A block holds its 32 rows and the current 32 columns in shared memory
// as floats, 96 (forward) or 128 (backward) rows of D + 1, and its sums in registers; backward
// takes a workspace of one float a query for delta = <grad_out, out>.
//
// Two backward passes recompute the scores, so no atomics are needed and every sum has one order.
// Weights of zero are skipped: whatever a hidden position holds, NaN too, does not enter.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "ops/attention/attention.h"

namespace {

using snakelm::AttentionProblem;
using snakelm::AttentionType;
using snakelm::AttentionView;

constexpr int WARP = 32;
constexpr int WARPS = 8;
constexpr int ROWS = 4;  // of a warp
constexpr int BLOCK_ROWS = WARPS * ROWS;
constexpr int COLUMNS = WARP;  // of a tile: one a lane
constexpr unsigned ALL = 0xFFFFFFFFu;

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(__half x) { return __half2float(x); }
__device__ __forceinline__ float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ void narrow(float x, float* to) { *to = x; }
__device__ __forceinline__ void narrow(float x, __half* to) { *to = __float2half_rn(x); }
__device__ __forceinline__ void narrow(float x, __nv_bfloat16* to) { *to = __float2bfloat16_rn(x); }

__device__ __forceinline__ float warp_maximum(float x) {
  for (int step = WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(ALL, x, step));
  return x;
}
__device__ __forceinline__ float warp_sum(float x) {
  for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL, x, step);
  return x;
}

// First key that query t sees.
__device__ __forceinline__ int64_t start_of(const AttentionProblem& p, int64_t batch, int64_t t) {
  if (!p.row_start) return 0;
  const int64_t start = p.row_start[batch * p.time + t];
  return start < 0 ? 0 : start > t ? t : start;
}

// [2, T] of a head.
__device__ __forceinline__ float* log_sums(const AttentionProblem& p, int64_t batch, int64_t head) {
  return p.log_sum + (batch * p.heads + head) * 2 * p.time;
}

// What a key of score s weighs for the query of this log_sum.
__device__ __forceinline__ float weight_of(const AttentionProblem& p, float s,
                                           const float* log_sum) {
  return expf((s - log_sum[0]) * p.scale - log_sum[p.time]);
}

// Rows [first, first + count) of one head to to[count][D + 1] floats, zeros beyond T and D. The odd
// row length lets lanes read a column each (row = lane) without bank conflicts.
template <class In, int D>
__device__ void load_tile(const AttentionProblem& p, const AttentionView& view, int64_t batch,
                          int64_t head, int64_t first, int count, float* to) {
  const In* const from = static_cast<const In*>(view.data) + batch * view.batch + head * view.head;
  for (int i = threadIdx.x; i < count * D; i += blockDim.x) {
    const int row = i / D, d = i % D;
    const int64_t t = first + row;
    to[row * (D + 1) + d] = t < p.time && d < p.head_dim ? widen(from[t * view.time + d]) : 0.0f;
  }
}

template <int D>
__device__ __forceinline__ float dot(const float* a, const float* b) {
  float sum = 0;
#pragma unroll 16
  for (int d = 0; d < D; ++d) sum = fmaf(a[d], b[d], sum);
  return sum;
}

// sum[c] += weight of each column * to[column][lane + 32 c]; columns of weight zero are left out.
template <int D>
__device__ __forceinline__ void spread(float weight, const float* columns,
                                       float (&sum)[(D + WARP - 1) / WARP]) {
  const int lane = threadIdx.x % WARP;
  for (int j = 0; j < COLUMNS; ++j) {
    const float w = __shfl_sync(ALL, weight, j);
    if (w == 0.0f) continue;  // the same for all lanes
#pragma unroll
    for (int c = 0; c < (D + WARP - 1) / WARP; ++c) {
      const int d = c * WARP + lane;
      if (d < D) sum[c] = fmaf(w, columns[j * (D + 1) + d], sum[c]);
    }
  }
}

template <class In, int D>
__device__ __forceinline__ void write_row(const float (&sum)[(D + WARP - 1) / WARP], float scale,
                                          int64_t dim, In* to) {
#pragma unroll
  for (int c = 0; c < (D + WARP - 1) / WARP; ++c) {
    const int d = c * WARP + threadIdx.x % WARP;
    if (d < dim) narrow(sum[c] * scale, to + d);
  }
}

struct Place {
  int64_t batch, head, first;  // first row of the block
};

// Blocks: x over tiles of rows, last (longest) first for queries; y over heads; z over the batch.
__device__ __forceinline__ Place place_of(bool longest_last) {
  const int64_t tile = longest_last ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
  return {static_cast<int64_t>(blockIdx.z), static_cast<int64_t>(blockIdx.y), tile * BLOCK_ROWS};
}

template <class In, int D>
__global__ void __launch_bounds__(WARPS* WARP) forward_kernel(AttentionProblem p) {
  extern __shared__ float shared[];
  float* const q = shared;                    // [BLOCK_ROWS][D + 1]
  float* const k = q + BLOCK_ROWS * (D + 1);  // [COLUMNS][D + 1]
  float* const v = k + COLUMNS * (D + 1);     // [COLUMNS][D + 1]
  const Place at = place_of(true);
  const int64_t kv_head = at.head / (p.heads / p.kv_heads);
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

  load_tile<In, D>(p, p.q, at.batch, at.head, at.first, BLOCK_ROWS, q);
  float o[ROWS][(D + WARP - 1) / WARP] = {};
  float maximum[ROWS], sum[ROWS];
  int64_t start[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const int64_t t = at.first + warp * ROWS + r;
    maximum[r] = -INFINITY, sum[r] = 0;
    start[r] = t < p.time ? start_of(p, at.batch, t) : p.time;
  }

  const int64_t end = min(at.first + BLOCK_ROWS, p.time);
  for (int64_t tile = start_of(p, at.batch, at.first) / COLUMNS * COLUMNS; tile < end;
       tile += COLUMNS) {
    __syncthreads();
    load_tile<In, D>(p, p.k, at.batch, kv_head, tile, COLUMNS, k);
    load_tile<In, D>(p, p.v, at.batch, kv_head, tile, COLUMNS, v);
    __syncthreads();
    const int64_t key = tile + lane;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      const int row = warp * ROWS + r;
      const int64_t t = at.first + row;
      const bool seen = t < p.time && key >= start[r] && key <= t;
      const float s = seen ? dot<D>(q + row * (D + 1), k + lane * (D + 1)) : -INFINITY;
      const float grown = fmaxf(maximum[r], warp_maximum(s));
      if (grown == -INFINITY) continue;  // the whole warp: nothing of this tile is seen

      // Subtracted before they are scaled: rounded apart, equal large numbers would differ.
      const float weight = seen ? expf((s - grown) * p.scale) : 0.0f;
      const float keep = expf((maximum[r] - grown) * p.scale);

      maximum[r] = grown;
      sum[r] = sum[r] * keep + warp_sum(weight);
      for (float& x : o[r]) x *= keep;
      spread<D>(weight, v, o[r]);
    }
  }

#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const int64_t t = at.first + warp * ROWS + r;
    if (t >= p.time) continue;
    In* const out =
        static_cast<In*>(p.out) + ((at.batch * p.time + t) * p.heads + at.head) * p.head_dim;
    write_row<In, D>(o[r], 1.0f / sum[r], p.head_dim, out);
    if (lane == 0) {
      float* const log_sum = log_sums(p, at.batch, at.head) + t;
      log_sum[0] = maximum[r];
      log_sum[p.time] = logf(sum[r]);
    }
  }
}

// delta[b, h, t] = <grad_out, out>; one warp a row.
template <class In>
__global__ void delta_kernel(AttentionProblem p, float* delta) {
  const int64_t rows = p.batch * p.heads * p.time;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / WARP;
  if (row >= rows) return;

  const int64_t t = row % p.time, head = row / p.time % p.heads, batch = row / p.time / p.heads;
  const In* const out =
      static_cast<const In*>(p.out) + ((batch * p.time + t) * p.heads + head) * p.head_dim;
  const AttentionView& g = p.grad_out;
  const In* const grad_out =
      static_cast<const In*>(g.data) + batch * g.batch + t * g.time + head * g.head;

  float sum = 0;
  for (int64_t d = threadIdx.x % WARP; d < p.head_dim; d += WARP)
    sum += widen(out[d]) * widen(grad_out[d]);
  sum = warp_sum(sum);
  if (threadIdx.x % WARP == 0) delta[row] = sum;
}

template <class In, int D>
__global__ void __launch_bounds__(WARPS* WARP)
    grad_q_kernel(AttentionProblem p, const float* delta) {
  extern __shared__ float shared[];
  float* const q = shared;                           // [BLOCK_ROWS][D + 1]
  float* const grad_out = q + BLOCK_ROWS * (D + 1);  // [BLOCK_ROWS][D + 1]
  float* const k = grad_out + BLOCK_ROWS * (D + 1);  // [COLUMNS][D + 1]
  float* const v = k + COLUMNS * (D + 1);            // [COLUMNS][D + 1]
  const Place at = place_of(true);
  const int64_t kv_head = at.head / (p.heads / p.kv_heads),
                plane = (at.batch * p.heads + at.head) * p.time;
  const float* const log_sum = log_sums(p, at.batch, at.head);
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

  load_tile<In, D>(p, p.q, at.batch, at.head, at.first, BLOCK_ROWS, q);
  load_tile<In, D>(p, p.grad_out, at.batch, at.head, at.first, BLOCK_ROWS, grad_out);

  float grad[ROWS][(D + WARP - 1) / WARP] = {};

  const int64_t end = min(at.first + BLOCK_ROWS, p.time);
  for (int64_t tile = start_of(p, at.batch, at.first) / COLUMNS * COLUMNS; tile < end;
       tile += COLUMNS) {
    __syncthreads();
    load_tile<In, D>(p, p.k, at.batch, kv_head, tile, COLUMNS, k);
    load_tile<In, D>(p, p.v, at.batch, kv_head, tile, COLUMNS, v);
    __syncthreads();
    const int64_t key = tile + lane;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      const int row = warp * ROWS + r;
      const int64_t t = at.first + row;
      float ds = 0;
      if (t < p.time && key <= t && key >= start_of(p, at.batch, t)) {
        const float s = dot<D>(q + row * (D + 1), k + lane * (D + 1));
        const float dp = dot<D>(grad_out + row * (D + 1), v + lane * (D + 1));
        ds = weight_of(p, s, log_sum + t) * (dp - delta[plane + t]);
      }
      spread<D>(ds, k, grad[r]);
    }
  }

#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const int64_t t = at.first + warp * ROWS + r;
    if (t >= p.time) continue;
    In* const to =
        static_cast<In*>(p.grad_q) + ((at.batch * p.time + t) * p.heads + at.head) * p.head_dim;
    write_row<In, D>(grad[r], p.scale, p.head_dim, to);
  }
}

template <class In, int D>
__global__ void __launch_bounds__(WARPS* WARP)
    grad_kv_kernel(AttentionProblem p, const float* delta) {
  extern __shared__ float shared[];
  float* const k = shared;                        // [BLOCK_ROWS][D + 1]
  float* const v = k + BLOCK_ROWS * (D + 1);      // [BLOCK_ROWS][D + 1]
  float* const q = v + BLOCK_ROWS * (D + 1);      // [COLUMNS][D + 1]
  float* const grad_out = q + COLUMNS * (D + 1);  // [COLUMNS][D + 1]
  const Place at = place_of(false);               // head: of keys
  const int64_t group = p.heads / p.kv_heads;
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

  load_tile<In, D>(p, p.k, at.batch, at.head, at.first, BLOCK_ROWS, k);
  load_tile<In, D>(p, p.v, at.batch, at.head, at.first, BLOCK_ROWS, v);

  float grad_k[ROWS][(D + WARP - 1) / WARP] = {}, grad_v[ROWS][(D + WARP - 1) / WARP] = {};
  for (int64_t head = at.head * group; head < (at.head + 1) * group; ++head) {
    const int64_t plane = (at.batch * p.heads + head) * p.time;
    const float* const log_sum = log_sums(p, at.batch, head);
    // at.first is a multiple of COLUMNS: the first query that can see these keys starts a tile.
    for (int64_t tile = at.first; tile < p.time; tile += COLUMNS) {
      if (start_of(p, at.batch, tile) >= at.first + BLOCK_ROWS)
        break;  // nor does any later query; the same for all
      __syncthreads();
      load_tile<In, D>(p, p.q, at.batch, head, tile, COLUMNS, q);
      load_tile<In, D>(p, p.grad_out, at.batch, head, tile, COLUMNS, grad_out);
      __syncthreads();
      const int64_t t = tile + lane;
      const int64_t start = t < p.time ? start_of(p, at.batch, t) : p.time;
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        const int row = warp * ROWS + r;
        const int64_t key = at.first + row;
        float weight = 0, ds = 0;
        if (t < p.time && key <= t && key >= start) {
          const float s = dot<D>(k + row * (D + 1), q + lane * (D + 1));
          const float dp = dot<D>(v + row * (D + 1), grad_out + lane * (D + 1));
          weight = weight_of(p, s, log_sum + t);
          ds = weight * (dp - delta[plane + t]);
        }
        spread<D>(weight, grad_out, grad_v[r]);
        spread<D>(ds, q, grad_k[r]);
      }
    }
  }

#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const int64_t key = at.first + warp * ROWS + r;
    if (key >= p.time) continue;
    const int64_t to = ((at.batch * p.time + key) * p.kv_heads + at.head) * p.head_dim;
    write_row<In, D>(grad_k[r], p.scale, p.head_dim, static_cast<In*>(p.grad_k) + to);
    write_row<In, D>(grad_v[r], 1.0f, p.head_dim, static_cast<In*>(p.grad_v) + to);
  }
}

// ---- launchers ------------------------------------------------------------------------------

unsigned tiles_of(const AttentionProblem& p) {
  return static_cast<unsigned>((p.time + BLOCK_ROWS - 1) / BLOCK_ROWS);
}

// More than 48 KB of shared memory must be requested.
template <class Kernel, class... Args>
cudaError_t launch(Kernel kernel, dim3 grid, int rows, int dim, cudaStream_t stream, Args... args) {
  const size_t bytes = static_cast<size_t>(rows) * (dim + 1) * sizeof(float);
  cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           static_cast<int>(bytes));
  if (error != cudaSuccess) return error;
  kernel<<<grid, WARPS * WARP, bytes, stream>>>(args...);
  return cudaGetLastError();
}

template <class In, int D>
cudaError_t forward(const AttentionProblem& p, cudaStream_t stream) {
  const dim3 grid(tiles_of(p), static_cast<unsigned>(p.heads), static_cast<unsigned>(p.batch));
  return launch(forward_kernel<In, D>, grid, BLOCK_ROWS + 2 * COLUMNS, D, stream, p);
}

template <class In, int D>
cudaError_t backward(const AttentionProblem& p, float* delta, cudaStream_t stream) {
  const int64_t rows = p.batch * p.heads * p.time;
  delta_kernel<In>
      <<<static_cast<unsigned>((rows + WARPS - 1) / WARPS), WARPS * WARP, 0, stream>>>(p, delta);
  cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) return error;

  const int rows_held = 2 * BLOCK_ROWS + 2 * COLUMNS;
  const dim3 grid(tiles_of(p), static_cast<unsigned>(p.heads), static_cast<unsigned>(p.batch));
  error =
      launch(grad_q_kernel<In, D>, grid, rows_held, D, stream, p, static_cast<const float*>(delta));
  if (error != cudaSuccess) return error;

  const dim3 key_grid(tiles_of(p), static_cast<unsigned>(p.kv_heads),
                      static_cast<unsigned>(p.batch));
  return launch(grad_kv_kernel<In, D>, key_grid, rows_held, D, stream, p,
                static_cast<const float*>(delta));
}

template <class In>
cudaError_t dispatch(const AttentionProblem& p, float* delta, cudaStream_t stream) {
  if (p.head_dim <= 32)
    return delta ? backward<In, 32>(p, delta, stream) : forward<In, 32>(p, stream);
  if (p.head_dim <= 64)
    return delta ? backward<In, 64>(p, delta, stream) : forward<In, 64>(p, stream);
  if (p.head_dim <= 128)
    return delta ? backward<In, 128>(p, delta, stream) : forward<In, 128>(p, stream);
  return cudaErrorInvalidValue;
}

cudaError_t run(const AttentionProblem& p, float* delta, void* stream) {
  if (p.batch == 0 || p.time == 0) return cudaSuccess;
  if (p.batch > 65535 || p.heads > 65535) return cudaErrorInvalidValue;  // the grid's y and z
  const auto s = static_cast<cudaStream_t>(stream);
  switch (p.type) {
    case AttentionType::float32: return dispatch<float>(p, delta, s);
    case AttentionType::bfloat16: return dispatch<__nv_bfloat16>(p, delta, s);
    case AttentionType::float16: return dispatch<__half>(p, delta, s);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

extern "C" int snakelm_attention_forward_cuda(const AttentionProblem* problem, void* stream) {
  return run(*problem, nullptr, stream);
}

extern "C" int snakelm_attention_backward_cuda(const AttentionProblem* problem, float* workspace,
                                               void* stream) {
  return workspace ? run(*problem, workspace, stream) : static_cast<int>(cudaErrorInvalidValue);
}

extern "C" const char* snakelm_cuda_error(int code) {
  return cudaGetErrorString(static_cast<cudaError_t>(code));
}
