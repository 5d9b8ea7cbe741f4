// Forward on tensor cores: online softmax over tiles of keys for 128 queries of a head
// (FlashAttention-2).
//
//   m' = max(m, max_j s_j)    keep = exp(m - m')    l' = l keep + sum_j exp(s_j - m')
//   o' = o keep + sum_j exp(s_j - m') v_j           at the end: out = o / l,  log_sum = m, log l
//
// s and m are subtracted before they are scaled: two large numbers, equal where s is the maximum,
// that rounded apart would differ by more than an exponent holds.
//
// A warp has 32 queries: each fragment of k and v that it reads serves two products, which keeps
// shared memory (128 bytes a cycle) below the tensor cores' pace. The tile of v is on its way while
// q k^T is computed, the next tile of k during softmax and p v.
#pragma once

#include "ops/attention/attention_mma.cuh"

namespace snakelm {

template <int D>
struct ForwardTiles {
  static constexpr int M = 2;  // sixteens of queries of a warp
  static constexpr int QUERIES = MMA_WARPS * M * 16, KEYS = D <= 64 ? 64 : 32, N = KEYS / 8;
  static_assert(QUERIES == MMA_THREADS && KEYS <= MMA_THREADS, "a thread a query or a key");
  static constexpr SharedAddress Q = 0;
  static constexpr SharedAddress K = Q + QUERIES * D * 2;
  static constexpr SharedAddress V = K + KEYS * D * 2;
  static constexpr SharedAddress START = V + KEYS * D * 2;      // [QUERIES] first keys seen
  static constexpr SharedAddress BROKEN = START + QUERIES * 4;  // [KEYS] which are not finite
  static constexpr int BYTES = BROKEN + KEYS * 4;
};

// Hides what row i of the warp, query warp_first + i, doesn't see; starts: of the block's queries.
template <int M, int N>
SNAKELM_DEVICE void mask_scores(float (&s)[M][N][4], int tile, int warp_first, int first,
                                SharedAddress starts) {
#pragma unroll
  for (int i = 0; i < 2 * M; ++i) {
    const int t = warp_first + i * 8 + lane_row();
    const int start = load_shared<int>(starts + (t - first) * 4);
#pragma unroll
    for (int j = 0; j < 2 * N; ++j) {
      const int key = tile + j / 2 * 8 + lane_column() + j % 2;
      if (key > t || key < start) s[i / 2][j / 2][i % 2 * 2 + j % 2] = -INFINITY;
    }
  }
}

// Scores to weights relative to the new maximum; what was summed before shrinks to it.
template <int D, int M, int N>
SNAKELM_DEVICE void soften(float (&s)[M][N][4], float (&maximum)[M][2], float (&sum)[M][2],
                           float (&o)[M][D / 8][4], float factor) {
#pragma unroll
  for (int m = 0; m < M; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest = maximum[m][half];
#pragma unroll
      for (int j = 0; j < 2 * N; ++j) largest = fmaxf(largest, s[m][j / 2][half * 2 + j % 2]);
      largest = row_maximum(largest);

      // Nothing seen yet: exp(-inf) = 0 of all, also of what there was.
      const float finite = largest == -INFINITY ? 0.0f : largest;
      const float keep = power_of_two((maximum[m][half] - finite) * factor);
      float total = 0;
#pragma unroll
      for (int j = 0; j < 2 * N; ++j) {
        float& x = s[m][j / 2][half * 2 + j % 2];
        x = power_of_two((x - finite) * factor);
        total += x;
      }

      maximum[m][half] = largest;
      sum[m][half] = sum[m][half] * keep + total;
#pragma unroll
      for (int j = 0; j < D / 4; ++j) o[m][j / 2][half * 2 + j % 2] *= keep;
    }
  }
}

// On the careful way, for the block: cleans the tiles of k and v. Returns a bit for each of the
// lane's rows that sees something broken or is broken.
template <class In, int D>
SNAKELM_DEVICE unsigned find_broken(SharedAddress shared, int tile, int warp_first, int first) {
  using Tiles = ForwardTiles<D>;
  if (threadIdx.x < Tiles::KEYS) {
    const int row = static_cast<int>(threadIdx.x);
    const bool key = clean_row<In, D>(shared + Tiles::K, row);
    const bool value = clean_row<In, D>(shared + Tiles::V, row);
    store_shared<int>(shared + Tiles::BROKEN + row * 4, key || value);
  }
  __syncthreads();

  unsigned bits = 0;
#pragma unroll 1
  for (int i = 0; i < 2 * Tiles::M; ++i) {
    const int t = warp_first + i * 8 + lane_row();
    const int start = load_shared<int>(shared + Tiles::START + (t - first) * 4);
    bool broken = row_is_broken<In, D>(shared + Tiles::Q, t - first);
#pragma unroll 1
    for (int key = start > tile ? start : tile; key <= t && key < tile + Tiles::KEYS; ++key)
      broken |= load_shared<int>(shared + Tiles::BROKEN + (key - tile) * 4) != 0;
    bits |= static_cast<unsigned>(broken) << i;
  }
  __syncwarp();  // together again, as products need them
  return bits;
}

template <class In, int D>
__global__ void __launch_bounds__(MMA_THREADS, 2) forward_mma_kernel(AttentionProblem p) {
  using Tiles = ForwardTiles<D>;
  constexpr int M = Tiles::M, N = Tiles::N, KEYS = Tiles::KEYS;
  const int batch = static_cast<int>(blockIdx.z), head = static_cast<int>(blockIdx.y);
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * Tiles::QUERIES;  // longest first
  const int kv_head = head / static_cast<int>(p.heads / p.kv_heads);
  const int time = static_cast<int>(p.time), warp = static_cast<int>(threadIdx.x) / WARP_LANES;
  const int end = first + Tiles::QUERIES < time ? first + Tiles::QUERIES : time;

  const SharedAddress shared = shared_memory(), k_tile = shared + Tiles::K,
                      v_tile = shared + Tiles::V, starts = shared + Tiles::START,
                      q_rows = shared + Tiles::Q + warp * M * 16 * D * 2;
  const HeadRows<In> k(p, p.k, batch, kv_head), v(p, p.v, batch, kv_head);
  load_tile<In, D, Tiles::QUERIES>(shared + Tiles::Q, HeadRows<In>(p, p.q, batch, head), first);

  // Beyond T every key is seen: those rows are zeros, and finite.
  const int own = first + static_cast<int>(threadIdx.x);
  store_shared<int>(starts + threadIdx.x * 4, own < time ? first_seen(p, batch, own) : 0);

  // Of the warp: queries [warp_first, warp_last]. Tiles that they don't see are skipped, and only
  // those on an edge are masked.
  const int warp_first = first + warp * M * 16;
  const int warp_last = (warp_first + M * 16 < time ? warp_first + M * 16 : time) - 1;
  const bool idle = warp_first >= time;

  const float factor = p.scale * LOG2_OF_E;
  float o[M][D / 8][4], maximum[M][2], sum[M][2];
  unsigned broken = 0;  // a bit for each of the lane's rows
#pragma unroll 1
  for (bool careful = false;; careful = true) {
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) maximum[m][half] = -INFINITY, sum[m][half] = 0;
    }
    clear(o);
    float probe = 0;  // a sum of scores that a broken key can't leave finite

    int tile = first_seen(p, batch, first);
    load_tile<In, D, KEYS>(k_tile, k, tile);
#pragma unroll 1
    for (; tile < end; tile += KEYS) {
      wait_for_copies();
      __syncthreads();  // k is here, and v's tile has been read
      load_tile<In, D, KEYS>(v_tile, v, tile);

      const auto start_of = [&](int t) { return load_shared<int>(starts + (t - first) * 4); };
      const bool active = !idle && tile <= warp_last && tile + KEYS > start_of(warp_first);
      float s[M][N][4];
      if (active) {
        clear(s);
        multiply_rows<In, D, M, N>(s, q_rows, k_tile);
      }

      wait_for_copies();
      __syncthreads();  // v is here, and k's tile has been read
      if (careful) broken |= find_broken<In, D>(shared, tile, warp_first, first);
      if (tile + KEYS < end) load_tile<In, D, KEYS>(k_tile, k, tile + KEYS);
      if (!active) continue;

#pragma unroll
      for (int n = 0; n < N; ++n) probe += s[0][n][0] + s[0][n][1];  // of one row: has all keys
      if (careful || tile + KEYS - 1 > warp_first || tile < start_of(warp_last))
        mask_scores<M, N>(s, tile, warp_first, first, starts);
      soften<D, M, N>(s, maximum, sum, o, factor);
      multiply_columns<In, D, M, N>(o, s, v_tile);
    }

    bool suspicious = !idle && !is_finite(probe);
#pragma unroll
    for (int i = 0; i < 2 * M; ++i) {
      float& total = sum[i / 2][i % 2] = row_sum(sum[i / 2][i % 2]);
      const float check = total + sum_of_row(o[i / 2], i % 2);
      suspicious |= warp_first + i * 8 + lane_row() < time && !is_finite(check);
    }
    if (!__syncthreads_or(suspicious) || careful) break;
  }

  float scale[M][2];
#pragma unroll
  for (int i = 0; i < 2 * M; ++i) {
    const int t = warp_first + i * 8 + lane_row();
    const bool bad = broken >> i & 1;
    const float total = sum[i / 2][i % 2];
    scale[i / 2][i % 2] = bad ? NAN : 1.0f / total;
    if (t >= time || lane_column() != 0) continue;
    float* const log_sum = p.log_sum + (batch * p.heads + head) * 2 * p.time + t;
    log_sum[0] = maximum[i / 2][i % 2];
    log_sum[p.time] = bad ? NAN : logf(total);
  }
  if (!idle)
    write_rows<In, D, M>(p, p.out, static_cast<int>(p.heads), batch, head, warp_first, o, scale,
                         q_rows);
}

template <class In, int D>
int forward_mma(const AttentionProblem& p, Stream stream) {
  using Tiles = ForwardTiles<D>;
  const dim3 grid(static_cast<unsigned>((p.time + Tiles::QUERIES - 1) / Tiles::QUERIES),
                  static_cast<unsigned>(p.heads), static_cast<unsigned>(p.batch));
  return launch(forward_mma_kernel<In, D>, grid, MMA_THREADS, Tiles::BYTES, stream, p);
}

}  // namespace snakelm
