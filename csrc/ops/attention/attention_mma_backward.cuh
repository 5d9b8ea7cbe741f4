// Backward on tensor cores, deterministic and without atomics: two kernels, each of which
// recomputes the scores from log_sum.
//
//   p_ij  = exp(s_ij - m_i - log l_i)             delta_i = <grad_out_i, out_i>
//   ds_ij = p_ij (<grad_out_i, v_j> - delta_i)
//   grad_q_i = scale sum_j ds_ij k_j     a block has 64 queries and walks over tiles of keys
//   grad_k_j = scale sum_i ds_ij q_i     a block has 64 keys and walks over tiles of queries, of
//   grad_v_j = sum_i p_ij grad_out_i     all query heads of the key head in turn
//
// The second kernel computes s and dp transposed, keys as rows: so p and ds are in the fragments
// that the sums over queries take. The next tile is copied while one is computed.
//
// A query whose log_sum or delta is not finite is one that sees something that isn't, or is one: it
// gives NaN to its grad_q and to all keys that it sees, and counts as zeros besides.
#pragma once

#include "ops/attention/attention_mma.cuh"

namespace snakelm {

template <int D>
struct BackwardTiles {
  static constexpr int ROWS = MMA_WARPS * 16, COLUMNS = D <= 64 ? 64 : 32;
  static constexpr SharedAddress ROW_BYTES = ROWS * D * 2, COLUMN_BYTES = COLUMNS * D * 2;
  // Two tiles of rows; twice two tiles of columns and maximum, log sum, delta and start of each;
  // starts of rows, or which columns are broken.
  static constexpr SharedAddress FIRST = 0, SECOND = ROW_BYTES, STAGES = 2 * ROW_BYTES;
  static constexpr SharedAddress STAGE_BYTES = 2 * COLUMN_BYTES + 4 * COLUMNS * 4;
  static constexpr SharedAddress MARKS = STAGES + 2 * STAGE_BYTES;
  static constexpr int BYTES = MARKS + ROWS * 4;
};

// ---- grad_q -------------------------------------------------------------------------------------

template <class In, int D>
__global__ void __launch_bounds__(MMA_THREADS, D <= 32 ? 3 : 2)
    grad_q_mma_kernel(AttentionProblem p, const float* delta) {
  using Tiles = BackwardTiles<D>;
  constexpr int KEYS = Tiles::COLUMNS, N = KEYS / 8;
  const int batch = static_cast<int>(blockIdx.z), head = static_cast<int>(blockIdx.y);
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * Tiles::ROWS;  // longest first
  const int kv_head = head / static_cast<int>(p.heads / p.kv_heads);
  const int time = static_cast<int>(p.time), warp = static_cast<int>(threadIdx.x) / WARP_LANES;
  const int end = first + Tiles::ROWS < time ? first + Tiles::ROWS : time;

  const SharedAddress shared = shared_memory(), own = warp * 16 * D * 2,
                      q_rows = shared + Tiles::FIRST + own,
                      grad_out_rows = shared + Tiles::SECOND + own;
  const HeadRows<In> k(p, p.k, batch, kv_head), v(p, p.v, batch, kv_head);
  load_tile<In, D, Tiles::ROWS>(shared + Tiles::FIRST, HeadRows<In>(p, p.q, batch, head), first);
  load_tile<In, D, Tiles::ROWS>(shared + Tiles::SECOND, HeadRows<In>(p, p.grad_out, batch, head),
                                first);

  const int warp_first = first + warp * 16;
  const int warp_last = (warp_first + 16 < time ? warp_first + 16 : time) - 1;
  const bool idle = warp_first >= time;
  const SharedAddress starts = shared + Tiles::MARKS;  // [ROWS] first keys seen
  if (threadIdx.x < Tiles::ROWS) {
    const int own = first + static_cast<int>(threadIdx.x);
    store_shared<int>(starts + threadIdx.x * 4, own < time ? first_seen(p, batch, own) : 0);
  }
  const int64_t plane = batch * p.heads + head;
  float maximum[2], log_sum[2], row_delta[2];  // log_sum in powers of two
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int t = warp_first + half * 8 + lane_row();
    maximum[half] = log_sum[half] = row_delta[half] = 0;
    if (t < time) {
      maximum[half] = p.log_sum[plane * 2 * time + t];
      log_sum[half] = p.log_sum[plane * 2 * time + time + t] * LOG2_OF_E;
      row_delta[half] = delta[plane * time + t];
    }
  }
  wait_for_copies();
  __syncthreads();
  uint32_t q[D / 16][4], grad_out[D / 16][4];
  load_fragments<D>(q, q_rows), load_fragments<D>(grad_out, grad_out_rows);

  const float factor = p.scale * LOG2_OF_E;
  float grad[1][D / 8][4];
#pragma unroll 1
  for (bool careful = false;; careful = true) {
    clear(grad);

    int tile = first_seen(p, batch, first);
    SharedAddress now = shared + Tiles::STAGES, next = now + Tiles::STAGE_BYTES;
    load_tile<In, D, KEYS>(now, k, tile);
    load_tile<In, D, KEYS>(now + Tiles::COLUMN_BYTES, v, tile);
#pragma unroll 1
    for (; tile < end; tile += KEYS) {
      wait_for_copies();
      __syncthreads();
      if (tile + KEYS < end) {
        load_tile<In, D, KEYS>(next, k, tile + KEYS);
        load_tile<In, D, KEYS>(next + Tiles::COLUMN_BYTES, v, tile + KEYS);
      }
      const SharedAddress k_tile = now, v_tile = now + Tiles::COLUMN_BYTES;
      now = next, next = k_tile;

      if (careful) {  // keys only: a broken value reaches rows of its own document alone
        if (threadIdx.x < KEYS) clean_row<In, D>(k_tile, static_cast<int>(threadIdx.x));
        __syncthreads();
      }
      const auto start_of = [&](int t) { return load_shared<int>(starts + (t - first) * 4); };
      if (idle || tile > warp_last || tile + KEYS <= start_of(warp_first)) continue;

      float s[1][N][4], ds[1][N][4];
      clear(s), clear(ds);
      multiply_rows<In, D, N>(s[0], q, k_tile);
      multiply_rows<In, D, N>(ds[0], grad_out, v_tile);

#pragma unroll
      for (int i = 0; i < N * 4; ++i) {
        const int half = i % 4 / 2;
        float& x = ds[0][i / 4][i % 4];
        x = (x - row_delta[half]) *
            power_of_two((s[0][i / 4][i % 4] - maximum[half]) * factor - log_sum[half]);
      }
      if (careful || tile + KEYS - 1 > warp_first || tile < start_of(warp_last)) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int t = warp_first + half * 8 + lane_row(), start = start_of(t);
#pragma unroll
          for (int j = 0; j < 2 * N; ++j) {
            const int key = tile + j / 2 * 8 + lane_column() + j % 2;
            if (key > t || key < start) ds[0][j / 2][half * 2 + j % 2] = 0;
          }
        }
      }
      multiply_columns<In, D, 1, N>(grad, ds, k_tile);
    }

    bool suspicious = false;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float check = sum_of_row(grad[0], half);
      suspicious |= warp_first + half * 8 + lane_row() < time && !is_finite(check);
    }
    if (!__syncthreads_or(suspicious) || careful) break;
  }

  float scale[1][2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const bool finite =
        is_finite(maximum[half]) && is_finite(log_sum[half]) && is_finite(row_delta[half]);
    scale[0][half] = finite ? p.scale : NAN;
  }
  if (!idle)
    write_rows<In, D, 1>(p, p.grad_q, static_cast<int>(p.heads), batch, head, warp_first, grad,
                         scale, q_rows);
}

// ---- grad_k, grad_v -----------------------------------------------------------------------------

struct alignas(8) Pair {
  float x[2];
};

// The first query from `from` on that sees no key before `key`; row_start doesn't decrease.
SNAKELM_DEVICE int first_query_past(const AttentionProblem& p, int batch, int from, int key) {
  int low = from, high = static_cast<int>(p.time);
  if (!p.row_start) return high;
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (first_seen(p, batch, middle) < key)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

template <class In, int D>
__global__ void __launch_bounds__(MMA_THREADS, D <= 32 ? 3 : 2)
    grad_kv_mma_kernel(AttentionProblem p, const float* delta) {
  using Tiles = BackwardTiles<D>;
  constexpr int QUERIES = Tiles::COLUMNS, N = QUERIES / 8;
  constexpr SharedAddress MAXIMUM = 2 * Tiles::COLUMN_BYTES, LOG_SUM = MAXIMUM + QUERIES * 4,
                          DELTA = LOG_SUM + QUERIES * 4, START = DELTA + QUERIES * 4;
  const int batch = static_cast<int>(blockIdx.z), kv_head = static_cast<int>(blockIdx.y);
  const int first = static_cast<int>(blockIdx.x) * Tiles::ROWS;  // longest first
  const int group = static_cast<int>(p.heads / p.kv_heads);
  const int time = static_cast<int>(p.time), warp = static_cast<int>(threadIdx.x) / WARP_LANES;
  const int past = first + Tiles::ROWS < time ? first + Tiles::ROWS : time;

  const SharedAddress shared = shared_memory(), own = warp * 16 * D * 2,
                      k_rows = shared + Tiles::FIRST + own, v_rows = shared + Tiles::SECOND + own,
                      broken = shared + Tiles::MARKS;
  load_tile<In, D, Tiles::ROWS>(shared + Tiles::FIRST, HeadRows<In>(p, p.k, batch, kv_head), first);
  load_tile<In, D, Tiles::ROWS>(shared + Tiles::SECOND, HeadRows<In>(p, p.v, batch, kv_head),
                                first);

  const int end = first_query_past(p, batch, past, past);
  const int warp_first = first + warp * 16, warp_last = warp_first + 15;
  const float factor = p.scale * LOG2_OF_E;

  // Queries from `tile` on, of head `turn` of the group, and what is known of them.
  const auto load = [&](int turn, int tile, SharedAddress stage) {
    const int head = kv_head * group + turn;
    load_tile<In, D, QUERIES>(stage, HeadRows<In>(p, p.q, batch, head), tile);
    load_tile<In, D, QUERIES>(stage + Tiles::COLUMN_BYTES, HeadRows<In>(p, p.grad_out, batch, head),
                              tile);
    if (threadIdx.x >= QUERIES) return;
    const int row = static_cast<int>(threadIdx.x), t = tile + row;
    const bool valid = t < time;
    const int64_t plane = batch * p.heads + head, at = valid ? t : 0;
    const float* const maximum = p.log_sum + plane * 2 * p.time + at;
    copy_word(stage + MAXIMUM + row * 4, maximum, valid);
    copy_word(stage + LOG_SUM + row * 4, maximum + p.time, valid);
    copy_word(stage + DELTA + row * 4, delta + plane * p.time + at, valid);
    if (p.row_start)
      copy_word(stage + START + row * 4, p.row_start + batch * p.time + at, valid);
    else
      store_shared<int>(stage + START + row * 4, 0);
  };

  constexpr bool HELD = D == 64;  // k and v in registers, where there are some to spare
  uint32_t k[HELD ? D / 16 : 1][4], v[HELD ? D / 16 : 1][4];
  if constexpr (HELD) {
    wait_for_copies();
    __syncthreads();
    load_fragments<D>(k, k_rows), load_fragments<D>(v, v_rows);
  }

  float grad_k[1][D / 8][4], grad_v[1][D / 8][4];
  unsigned poisoned = 0;  // a bit for each of the lane's keys
#pragma unroll 1
  for (bool careful = false;; careful = true) {
    clear(grad_k), clear(grad_v);

    SharedAddress now = shared + Tiles::STAGES, next = now + Tiles::STAGE_BYTES;
    load(0, first, now);
#pragma unroll 1
    for (int turn = 0, tile = first, next_turn, next_tile; turn < group;
         turn = next_turn, tile = next_tile) {
      const bool last_tile = tile + QUERIES >= end;
      next_turn = turn + last_tile, next_tile = last_tile ? first : tile + QUERIES;
      wait_for_copies();
      __syncthreads();
      if (next_turn < group) load(next_turn, next_tile, next);
      const SharedAddress stage = now, q_tile = stage, grad_out_tile = stage + Tiles::COLUMN_BYTES;
      now = next, next = stage;

      if (careful) {
        if (threadIdx.x < QUERIES) {
          const int row = static_cast<int>(threadIdx.x);
          const bool bad = !is_finite(load_shared<float>(stage + MAXIMUM + row * 4)) ||
                           !is_finite(load_shared<float>(stage + LOG_SUM + row * 4)) ||
                           !is_finite(load_shared<float>(stage + DELTA + row * 4));
          store_shared<uint32_t>(broken + row * 4, bad);
          if (bad) {
            clear_row<In, D>(q_tile, row);
            clear_row<In, D>(grad_out_tile, row);
            store_shared<float>(stage + MAXIMUM + row * 4, 0.0f);
            store_shared<float>(stage + LOG_SUM + row * 4, 0.0f);
            store_shared<float>(stage + DELTA + row * 4, 0.0f);
          }
        }
        __syncthreads();
#pragma unroll 1
        for (int half = 0; half < 2; ++half) {
          const int key = warp_first + half * 8 + lane_row();
#pragma unroll 1
          for (int row = 0; row < QUERIES; ++row) {
            const int t = tile + row, start = load_shared<int>(stage + START + row * 4);
            if (load_shared<uint32_t>(broken + row * 4) && key <= t && (key >= start || key == t))
              poisoned |= 1u << half;
          }
        }
        __syncwarp();  // together again, as products need them
      }

      // The first and the last query of the tile, as far as there are; starts as first_seen.
      const int last = tile + QUERIES < time ? tile + QUERIES - 1 : time - 1;
      const int first_start = load_shared<int>(stage + START);
      const int last_start = load_shared<int>(stage + START + (last - tile) * 4);
      if (last < warp_first || (first_start > warp_last && tile > warp_last)) continue;

      float weight[1][N][4], ds[1][N][4];  // [keys][queries]
      clear(weight), clear(ds);
      if constexpr (HELD) {
        multiply_rows<In, D, N>(weight[0], k, q_tile);
        multiply_rows<In, D, N>(ds[0], v, grad_out_tile);
      } else {
        multiply_rows<In, D, 1, N>(weight, k_rows, q_tile);
        multiply_rows<In, D, 1, N>(ds, v_rows, grad_out_tile);
      }

#pragma unroll
      for (int n = 0; n < N; ++n) {
        const SharedAddress column = stage + (n * 8 + lane_column()) * 4;
        const Pair maximum = load_shared<Pair>(column + MAXIMUM),
                   log_sum = load_shared<Pair>(column + LOG_SUM),
                   row_delta = load_shared<Pair>(column + DELTA);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float& w = weight[0][n][i];
          w = power_of_two((w - maximum.x[i % 2]) * factor - log_sum.x[i % 2] * LOG2_OF_E);
          ds[0][n][i] = w * (ds[0][n][i] - row_delta.x[i % 2]);
        }
      }
      if (careful || tile < warp_last || last_start > warp_first) {
#pragma unroll
        for (int j = 0; j < 2 * N; ++j) {
          const int column = j / 2 * 8 + lane_column() + j % 2, t = tile + column;
          const int given = load_shared<int>(stage + START + column * 4),
                    start = given < t ? given : t;
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int key = warp_first + half * 8 + lane_row(), i = half * 2 + j % 2;
            if (key > t || key < start) weight[0][j / 2][i] = ds[0][j / 2][i] = 0;
          }
        }
      }
      multiply_columns<In, D, 1, N>(grad_v, weight, grad_out_tile);
      multiply_columns<In, D, 1, N>(grad_k, ds, q_tile);
    }

    bool suspicious = false;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float check = sum_of_row(grad_k[0], half) + sum_of_row(grad_v[0], half);
      suspicious |= warp_first + half * 8 + lane_row() < time && !is_finite(check);
    }
    if (!__syncthreads_or(suspicious) || careful) break;
  }

  float scale[1][2], one[1][2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    one[0][half] = poisoned >> half & 1 ? NAN : 1.0f;
    scale[0][half] = one[0][half] * p.scale;
  }
  if (warp_first >= time) return;
  const int heads = static_cast<int>(p.kv_heads);
  write_rows<In, D, 1>(p, p.grad_k, heads, batch, kv_head, warp_first, grad_k, scale, k_rows);
  write_rows<In, D, 1>(p, p.grad_v, heads, batch, kv_head, warp_first, grad_v, one, v_rows);
}

template <class In, int D>
int backward_mma(const AttentionProblem& p, const float* delta, Stream stream) {
  using Tiles = BackwardTiles<D>;
  const unsigned tiles = static_cast<unsigned>((p.time + Tiles::ROWS - 1) / Tiles::ROWS);
  const unsigned batch = static_cast<unsigned>(p.batch);
  const dim3 queries(tiles, static_cast<unsigned>(p.heads), batch);
  if (const int error =
          launch(grad_q_mma_kernel<In, D>, queries, MMA_THREADS, Tiles::BYTES, stream, p, delta))
    return error;
  const dim3 keys(tiles, static_cast<unsigned>(p.kv_heads), batch);
  return launch(grad_kv_mma_kernel<In, D>, keys, MMA_THREADS, Tiles::BYTES, stream, p, delta);
}

}  // namespace snakelm
