// Causal attention over packed documents in float32, by scalar products: exact, deterministic and
// simple.
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
// Memory: nothing of T x T. A block holds its 32 rows and the current 32 columns in shared memory,
// 96 (forward) or 128 (backward) rows of D + 1, and its sums in registers; backward takes a
// workspace of one float a query for delta.
//
// Two backward passes recompute the scores, so no atomics are needed and every sum has one order.
// Weights of zero are skipped: whatever a hidden position holds, NaN too, does not enter. A seen
// key or a query that isn't finite has scores of NaN.
#pragma once

#include "ops/attention/attention_delta.cuh"

namespace snakelm {
namespace scalar {

constexpr int WARP = WARP_LANES;
constexpr int WARPS = 8;
constexpr int ROWS = 4;  // of a warp
constexpr int BLOCK_ROWS = WARPS * ROWS;
constexpr int COLUMNS = WARP;  // of a tile: one a lane

SNAKELM_DEVICE float warp_maximum(float x) {
  for (int step = WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
  return x;
}

// [2, T] of a head.
SNAKELM_DEVICE float* log_sums(const AttentionProblem& p, int64_t batch, int64_t head) {
  return p.log_sum + (batch * p.heads + head) * 2 * p.time;
}

// What a key of score s weighs for the query of this log_sum; NaN where the query sees what isn't
// finite.
SNAKELM_DEVICE float weight_of(const AttentionProblem& p, float s, const float* log_sum,
                               float delta) {
  const bool broken = !is_finite(log_sum[0]) || !is_finite(log_sum[p.time]) || !is_finite(delta);
  return broken ? NAN : expf((s - log_sum[0]) * p.scale - log_sum[p.time]);
}

// Rows [first, first + count) of one head to to[count][D + 1] floats, zeros beyond T and D. The odd
// row length lets lanes read a column each (row = lane) without bank conflicts. Returns whether all
// that this thread has copied is finite.
template <int D>
SNAKELM_DEVICE bool load_tile(const AttentionProblem& p, const AttentionView& view, int64_t batch,
                              int64_t head, int64_t first, int count, float* to) {
  const float* const from =
      static_cast<const float*>(view.data) + batch * view.batch + head * view.head;
  bool finite = true;
  for (int i = static_cast<int>(threadIdx.x); i < count * D; i += WARPS * WARP) {
    const int row = i / D, d = i % D;
    const int64_t t = first + row;
    const float x = t < p.time && d < p.head_dim ? from[t * view.time + d] : 0.0f;
    to[row * (D + 1) + d] = x;
    finite &= is_finite(x);
  }
  return finite;
}

template <int D>
SNAKELM_DEVICE bool row_is_finite(const float* row) {
  bool finite = true;
  for (int d = 0; d < D; ++d) finite &= is_finite(row[d]);
  return finite;
}

template <int D>
SNAKELM_DEVICE float dot(const float* a, const float* b) {
  float sum = 0;
#pragma unroll 16
  for (int d = 0; d < D; ++d) sum = fmaf(a[d], b[d], sum);
  return sum;
}

// sum[c] += weight of each column * to[column][lane + 32 c]; columns of weight zero are left out.
template <int D>
SNAKELM_DEVICE void spread(float weight, const float* columns,
                           float (&sum)[(D + WARP - 1) / WARP]) {
  const int lane = lane_index();
  for (int j = 0; j < COLUMNS; ++j) {
    const float w = __shfl_sync(ALL_LANES, weight, j);
    if (w == 0.0f) continue;  // the same for all lanes
#pragma unroll
    for (int c = 0; c < (D + WARP - 1) / WARP; ++c) {
      const int d = c * WARP + lane;
      if (d < D) sum[c] = fmaf(w, columns[j * (D + 1) + d], sum[c]);
    }
  }
}

template <int D>
SNAKELM_DEVICE void write_row(const float (&sum)[(D + WARP - 1) / WARP], float scale, int64_t dim,
                              float* to) {
#pragma unroll
  for (int c = 0; c < (D + WARP - 1) / WARP; ++c) {
    const int d = c * WARP + lane_index();
    if (d < dim) to[d] = sum[c] * scale;
  }
}

struct Place {
  int batch, head, first;  // first row of the block
};

// Blocks: x over tiles of rows, last (longest) first for queries; y over heads; z over the batch.
SNAKELM_DEVICE Place place_of(bool longest_last) {
  const unsigned tile = longest_last ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
  return {static_cast<int>(blockIdx.z), static_cast<int>(blockIdx.y),
          static_cast<int>(tile) * BLOCK_ROWS};
}

template <int D>
__global__ void __launch_bounds__(WARPS* WARP) forward_kernel(AttentionProblem p) {
  float* const shared = shared_floats();
  float* const q = shared;                    // [BLOCK_ROWS][D + 1]
  float* const k = q + BLOCK_ROWS * (D + 1);  // [COLUMNS][D + 1]
  float* const v = k + COLUMNS * (D + 1);     // [COLUMNS][D + 1]
  const Place at = place_of(true);
  const int64_t kv_head = at.head / (p.heads / p.kv_heads);
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

  load_tile<D>(p, p.q, at.batch, at.head, at.first, BLOCK_ROWS, q);
  float o[ROWS][(D + WARP - 1) / WARP] = {};
  float maximum[ROWS], sum[ROWS];
  int64_t start[ROWS];
  bool broken[ROWS];
  __syncthreads();
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const int64_t t = at.first + warp * ROWS + r;
    maximum[r] = -INFINITY, sum[r] = 0;
    broken[r] = !row_is_finite<D>(q + (warp * ROWS + r) * (D + 1));
    start[r] = t < p.time ? first_seen(p, at.batch, t) : p.time;
  }

  const int64_t past = at.first + BLOCK_ROWS, end = past < p.time ? past : p.time;
  for (int64_t tile = first_seen(p, at.batch, at.first) / COLUMNS * COLUMNS; tile < end;
       tile += COLUMNS) {
    __syncthreads();
    const bool k_finite = load_tile<D>(p, p.k, at.batch, kv_head, tile, COLUMNS, k);
    const bool v_finite = load_tile<D>(p, p.v, at.batch, kv_head, tile, COLUMNS, v);
    const bool any_broken = __syncthreads_or(!k_finite || !v_finite);
    const bool broken_key = any_broken && !(row_is_finite<D>(k + lane * (D + 1)) &&
                                            row_is_finite<D>(v + lane * (D + 1)));
    const int64_t key = tile + lane;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      const int row = warp * ROWS + r;
      const int64_t t = at.first + row;
      if (t >= p.time || tile > t || tile + COLUMNS <= start[r]) continue;  // the whole warp

      const bool seen = key >= start[r] && key <= t;
      float s = -INFINITY;
      if (seen) s = broken[r] || broken_key ? NAN : dot<D>(q + row * (D + 1), k + lane * (D + 1));
      const float grown = fmaxf(maximum[r], warp_maximum(s));
      const float finite = grown == -INFINITY ? 0.0f : grown;  // NaN is no maximum

      // Subtracted before they are scaled: rounded apart, equal large numbers would differ.
      const float weight = seen ? expf((s - finite) * p.scale) : 0.0f;
      const float keep = expf((maximum[r] - finite) * p.scale);

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
    float* const out =
        static_cast<float*>(p.out) + ((at.batch * p.time + t) * p.heads + at.head) * p.head_dim;
    write_row<D>(o[r], 1.0f / sum[r], p.head_dim, out);
    if (lane == 0) {
      float* const log_sum = log_sums(p, at.batch, at.head) + t;
      log_sum[0] = maximum[r];
      log_sum[p.time] = logf(sum[r]);
    }
  }
}

template <int D>
__global__ void __launch_bounds__(WARPS* WARP)
    grad_q_kernel(AttentionProblem p, const float* delta) {
  float* const shared = shared_floats();
  float* const q = shared;                           // [BLOCK_ROWS][D + 1]
  float* const grad_out = q + BLOCK_ROWS * (D + 1);  // [BLOCK_ROWS][D + 1]
  float* const k = grad_out + BLOCK_ROWS * (D + 1);  // [COLUMNS][D + 1]
  float* const v = k + COLUMNS * (D + 1);            // [COLUMNS][D + 1]
  const Place at = place_of(true);
  const int64_t kv_head = at.head / (p.heads / p.kv_heads),
                plane = (at.batch * p.heads + at.head) * p.time;
  const float* const log_sum = log_sums(p, at.batch, at.head);
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

  load_tile<D>(p, p.q, at.batch, at.head, at.first, BLOCK_ROWS, q);
  load_tile<D>(p, p.grad_out, at.batch, at.head, at.first, BLOCK_ROWS, grad_out);

  float grad[ROWS][(D + WARP - 1) / WARP] = {};

  const int64_t past = at.first + BLOCK_ROWS, end = past < p.time ? past : p.time;
  for (int64_t tile = first_seen(p, at.batch, at.first) / COLUMNS * COLUMNS; tile < end;
       tile += COLUMNS) {
    __syncthreads();
    load_tile<D>(p, p.k, at.batch, kv_head, tile, COLUMNS, k);
    load_tile<D>(p, p.v, at.batch, kv_head, tile, COLUMNS, v);
    __syncthreads();
    const int64_t key = tile + lane;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      const int row = warp * ROWS + r;
      const int64_t t = at.first + row;
      float ds = 0;
      if (t < p.time && key <= t && key >= first_seen(p, at.batch, t)) {
        const float s = dot<D>(q + row * (D + 1), k + lane * (D + 1));
        const float dp = dot<D>(grad_out + row * (D + 1), v + lane * (D + 1));
        ds = weight_of(p, s, log_sum + t, delta[plane + t]) * (dp - delta[plane + t]);
      }
      spread<D>(ds, k, grad[r]);
    }
  }

#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const int64_t t = at.first + warp * ROWS + r;
    if (t >= p.time) continue;
    float* const to =
        static_cast<float*>(p.grad_q) + ((at.batch * p.time + t) * p.heads + at.head) * p.head_dim;
    write_row<D>(grad[r], p.scale, p.head_dim, to);
  }
}

template <int D>
__global__ void __launch_bounds__(WARPS* WARP)
    grad_kv_kernel(AttentionProblem p, const float* delta) {
  float* const shared = shared_floats();
  float* const k = shared;                        // [BLOCK_ROWS][D + 1]
  float* const v = k + BLOCK_ROWS * (D + 1);      // [BLOCK_ROWS][D + 1]
  float* const q = v + BLOCK_ROWS * (D + 1);      // [COLUMNS][D + 1]
  float* const grad_out = q + COLUMNS * (D + 1);  // [COLUMNS][D + 1]
  const Place at = place_of(false);               // head: of keys
  const int64_t group = p.heads / p.kv_heads;
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

  load_tile<D>(p, p.k, at.batch, at.head, at.first, BLOCK_ROWS, k);
  load_tile<D>(p, p.v, at.batch, at.head, at.first, BLOCK_ROWS, v);

  float grad_k[ROWS][(D + WARP - 1) / WARP] = {}, grad_v[ROWS][(D + WARP - 1) / WARP] = {};
  for (int64_t head = at.head * group; head < (at.head + 1) * group; ++head) {
    const int64_t plane = (at.batch * p.heads + head) * p.time;
    const float* const log_sum = log_sums(p, at.batch, head);
    // at.first is a multiple of COLUMNS: the first query that can see these keys starts a tile.
    for (int64_t tile = at.first; tile < p.time; tile += COLUMNS) {
      if (first_seen(p, at.batch, tile) >= at.first + BLOCK_ROWS)
        break;  // nor does any later query; the same for all
      __syncthreads();
      load_tile<D>(p, p.q, at.batch, head, tile, COLUMNS, q);
      load_tile<D>(p, p.grad_out, at.batch, head, tile, COLUMNS, grad_out);
      __syncthreads();
      const int64_t t = tile + lane;
      const int64_t start = t < p.time ? first_seen(p, at.batch, t) : p.time;
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        const int row = warp * ROWS + r;
        const int64_t key = at.first + row;
        float weight = 0, ds = 0;
        if (t < p.time && key <= t && key >= start) {
          const float s = dot<D>(k + row * (D + 1), q + lane * (D + 1));
          const float dp = dot<D>(v + row * (D + 1), grad_out + lane * (D + 1));
          weight = weight_of(p, s, log_sum + t, delta[plane + t]);
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
    write_row<D>(grad_k[r], p.scale, p.head_dim, static_cast<float*>(p.grad_k) + to);
    write_row<D>(grad_v[r], 1.0f, p.head_dim, static_cast<float*>(p.grad_v) + to);
  }
}

// ---- launchers ----------------------------------------------------------------------------------

inline dim3 grid_of(const AttentionProblem& p, int64_t heads) {
  return dim3(static_cast<unsigned>((p.time + BLOCK_ROWS - 1) / BLOCK_ROWS),
              static_cast<unsigned>(heads), static_cast<unsigned>(p.batch));
}

template <int D>
constexpr int bytes_of(int rows) {
  return rows * (D + 1) * static_cast<int>(sizeof(float));
}

}  // namespace scalar

template <int D>
int forward_scalar(const AttentionProblem& p, Stream stream) {
  using namespace scalar;
  return launch(forward_kernel<D>, grid_of(p, p.heads), WARPS * WARP,
                bytes_of<D>(BLOCK_ROWS + 2 * COLUMNS), stream, p);
}

template <int D>
int backward_scalar(const AttentionProblem& p, const float* delta, Stream stream) {
  using namespace scalar;
  constexpr int BYTES = bytes_of<D>(2 * BLOCK_ROWS + 2 * COLUMNS);
  if (const int error =
          launch(grad_q_kernel<D>, grid_of(p, p.heads), WARPS * WARP, BYTES, stream, p, delta))
    return error;
  return launch(grad_kv_kernel<D>, grid_of(p, p.kv_heads), WARPS * WARP, BYTES, stream, p, delta);
}

}  // namespace snakelm
