// What the tensor-core kernels share: tiles in shared memory, the two products, rows that are not
// finite.
//
// A block is four warps. A tile is [rows][D] in shared memory, rows of D / 8 chunks of 16 bytes; D
// is the head dimension padded with zeros to 32, 64, 96 or 128. Chunk c of row r lies at place
// c ^ swizzle(r) of its row, so that the eight rows of a matrix that ldmatrix reads, one chunk of
// each, are in different banks: at D = 64 and 128 every row begins at bank 0 and r & 7 tells eight
// rows apart; at 32 and 96 rows begin at banks 0 and 16 in turn, and pairs of rows need r / 2 & 3.
//
// A product is C[16 M rows of a warp][columns] += A B, C in registers. B is a tile whose rows are
// C's columns (scores: q k^T) or whose rows are the summed dimension (p v): without and with
// transposition by ldmatrix. A is a tile, or C of an earlier product: the fragments of C are those
// of A, two columns of eight side by side (Dao 2023, FlashAttention-2).
//
// Non-finite inputs. What is hidden has weight zero, but a product multiplies it all the same, and
// 0 NaN = NaN. So kernels run as if all were finite; a sum that isn't tells, since what is not
// finite can't leave it. Only then the block starts again, carefully: tiles are searched, broken
// values replaced by zeros, and the rows that see them written as NaN.
//
// Memory: nothing of T x T; backward takes delta, a float a query. Of a block, by the head
// dimension that D is padded to (registers of a thread by ptxas 13.0 for 8.0, bytes of shared
// memory, none spilled, blocks that a multiprocessor holds at 8.0 and 9.0; registers bound them):
//                32               64               96               128
//   forward      203  17,152  2   248  33,536  2   240  37,504  2   255  49,792  2
//   grad_q       155  26,880  3   202  51,456  2   204  50,432  2   242  66,816  2
//   grad_kv      165  26,880  3   236  51,456  2   220  50,432  2   247  66,816  2
//
// What should bound them, by counting a warp's instructions for a tile at D = 64 (not measured). An
// A100 does a product in 8 cycles of one of its four schedulers, a float operation of a warp in 2,
// an exponential in 8, and reads 512 bytes of matrices in 4 cycles of the whole multiprocessor:
//                products     floats  exponentials  matrices, of all four warps
//   forward      128 = 1,024  800     544             640
//   grad_q        96 =   768  290     256             768
//   grad_kv      128 = 1,024  420     256           1,216
// So: forward by the tensor cores, as far as two warps of a scheduler cover each other's softmax;
// backward by shared memory. On Hopper mma.sync itself is the bound, some 60% of wgmma.
#pragma once

#if defined(__CUDACC__)
#include "common/tensor_cores.cuh"
#else
#include "emulation.h"
#endif

#include "ops/attention/attention.h"

namespace snakelm {

constexpr int WARP_LANES = 32;
constexpr int MMA_WARPS = 4;
constexpr int MMA_THREADS = MMA_WARPS * WARP_LANES;
constexpr float LOG2_OF_E = 1.4426950408889634f;

SNAKELM_DEVICE bool is_finite(float x) { return x - x == 0.0f; }

// Of a lane: its row g of each eight, its pair of columns 2t, 2t + 1.
SNAKELM_DEVICE int lane_index() { return static_cast<int>(threadIdx.x) % WARP_LANES; }
SNAKELM_DEVICE int lane_row() { return lane_index() / 4; }
SNAKELM_DEVICE int lane_column() { return lane_index() % 4 * 2; }

// First key that query t sees.
SNAKELM_DEVICE int first_seen(const AttentionProblem& p, int batch, int t) {
  if (!p.row_start) return 0;
  const int start = p.row_start[batch * p.time + t];
  return start < 0 ? 0 : start > t ? t : start;
}

// ---- tiles --------------------------------------------------------------------------------------

template <int D>
SNAKELM_DEVICE int swizzle(int row) {
  return D % 64 == 0 ? row & 7 : row >> 1 & 3;
}

// Bytes from the tile's beginning.
template <int D>
SNAKELM_DEVICE SharedAddress place(int row, int chunk) {
  return static_cast<SharedAddress>(row * (D * 2) + (chunk ^ swizzle<D>(row)) * 16);
}

// One head of a [B, T, H, D] input. vectors: rows are whole chunks at multiples of 16 bytes.
template <class In>
struct HeadRows {
  const In* data;
  int64_t stride;
  int time, dim;
  bool vectors;

  SNAKELM_DEVICE HeadRows(const AttentionProblem& p, const AttentionView& view, int batch, int head)
      : data(static_cast<const In*>(view.data) + batch * view.batch + head * view.head),
        stride(view.time), time(static_cast<int>(p.time)), dim(static_cast<int>(p.head_dim)) {
    const int64_t elements = view.batch | view.time | view.head | p.head_dim;
    vectors =
        ((reinterpret_cast<uintptr_t>(view.data) | static_cast<uint64_t>(elements * 2)) & 15) == 0;
  }
};

// Rows [first, first + ROWS) to a tile, zeros beyond T and the head dimension. Has arrived after
// wait_for_copies and a barrier. A thread copies one column of chunks, whose place differs from one
// pass over the tile to the next by a constant.
template <class In, int D, int ROWS>
SNAKELM_DEVICE void load_tile(SharedAddress tile, const HeadRows<In>& from, int first) {
  constexpr int CHUNKS = D / 8, PASS = MMA_THREADS / CHUNKS / 8 * 8;  // rows
  static_assert(ROWS % PASS == 0, "whole passes");
  const int row = static_cast<int>(threadIdx.x) / CHUNKS,
            chunk = static_cast<int>(threadIdx.x) % CHUNKS;
  if (PASS * CHUNKS < MMA_THREADS && row >= PASS) return;

  const SharedAddress to = tile + place<D>(row, chunk);
  const In* source = from.data + (first + row) * from.stride + chunk * 8;
  if (from.vectors) {
    const int rows = chunk * 8 < from.dim ? from.time - first - row : 0;
#pragma unroll
    for (int i = 0; i < ROWS; i += PASS, source += PASS * from.stride)
      copy_words(to + i * D * 2, i < rows ? source : from.data, i < rows);
    return;
  }

#pragma unroll 1
  for (int i = 0; i < ROWS; i += PASS, source += PASS * from.stride) {
#pragma unroll 1
    for (int d = 0; d < 8; ++d) {
      const bool valid = first + row + i < from.time && chunk * 8 + d < from.dim;
      store_shared<In>(to + i * D * 2 + d * 2, valid ? source[d] : In{});
    }
  }
}

// A warp's C [16 M][D], row i times scale[i], through its own rows of a tile to rows [first, first
// + 16 M) of a dense [B, T, heads, D] output: stored by fragments they would be scattered words.
template <class In, int D, int M>
SNAKELM_DEVICE void write_rows(const AttentionProblem& p, void* output, int heads, int batch,
                               int head, int first, const float (&c)[M][D / 8][4],
                               const float (&scale)[M][2], SharedAddress tile) {
  constexpr int CHUNKS = D / 8;
#pragma unroll
  for (int m = 0; m < M; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = m * 16 + half * 8 + lane_row();
#pragma unroll
      for (int n = 0; n < CHUNKS; ++n) {
        const float *const pair = c[m][n] + half * 2, factor = scale[m][half];
        store_shared<uint32_t>(tile + place<D>(row, n) + lane_column() * 2,
                               round_pair(In{}, pair[0] * factor, pair[1] * factor));
      }
    }
  }
  __syncwarp();

  In* const to = static_cast<In*>(output) + (batch * p.time * heads + head) * p.head_dim;
  const int64_t stride = heads * p.head_dim;
  const int dim = static_cast<int>(p.head_dim);
  const bool vectors =
      ((reinterpret_cast<uintptr_t>(output) | static_cast<unsigned>(dim * 2)) & 15) == 0;
#pragma unroll 1
  for (int index = lane_index(); index < 16 * M * CHUNKS; index += WARP_LANES) {
    const int row = index / CHUNKS, chunk = index % CHUNKS, t = first + row;
    if (t >= p.time || chunk * 8 >= dim) continue;
    In* const at = to + t * stride + chunk * 8;
    const SharedAddress from = tile + place<D>(row, chunk);
    if (vectors) {
      *reinterpret_cast<Words*>(at) = load_shared<Words>(from);
    } else {
      for (int d = 0; d < 8 && chunk * 8 + d < dim; ++d) at[d] = load_shared<In>(from + d * 2);
    }
  }
}

// ---- products -----------------------------------------------------------------------------------

// Where a lane reads a tile's fragments. Of A: rows [row, row + 16), columns [16 step, 16 step +
// 16). Of B: the same region where the tile's rows are summed over, two columns of eight. A step
// and a multiple of eight rows change the place by constants: D / 16 steps trade places in powers
// of two, the rest is added.
template <int D>
struct LanePlace {
  static constexpr int STEPS = D % 64 == 0 ? 4 : 2;  // that trade places
  SharedAddress lane;

  SNAKELM_DEVICE LanePlace(SharedAddress tile, int row, int chunk)
      : lane(tile + place<D>(row, chunk)) {}

  SNAKELM_DEVICE SharedAddress at(int row, int step) const {
    return (lane ^ (step % STEPS * 32)) + step / STEPS * (STEPS * 32) + row * (D * 2);
  }
};

template <int D>
SNAKELM_DEVICE LanePlace<D> along(SharedAddress tile) {
  return {tile, lane_index() % 16, lane_index() / 16};
}

// Of B where rows [row, row + 16) of the tile are two columns of eight of C.
template <int D>
SNAKELM_DEVICE LanePlace<D> across(SharedAddress tile) {
  return {tile, lane_index() % 8 + lane_index() / 16 * 8, lane_index() / 8 % 2};
}

// All of A, sixteen rows.
template <int D>
SNAKELM_DEVICE void load_fragments(uint32_t (&a)[D / 16][4], SharedAddress tile) {
  const LanePlace<D> place = along<D>(tile);
#pragma unroll
  for (int step = 0; step < D / 16; ++step) load_matrices(a[step], place.at(0, step));
}

// C[16 M][8 N] += A B^T: A's rows from a_tile on, summed over D; B a tile of 8 N rows.
template <class In, int D, int M, int N>
SNAKELM_DEVICE void multiply_rows(float (&c)[M][N][4], SharedAddress a_tile, SharedAddress b_tile) {
  const LanePlace<D> a_place = along<D>(a_tile), b_place = across<D>(b_tile);
#pragma unroll
  for (int step = 0; step < D / 16; ++step) {
    uint32_t a[M][4];
#pragma unroll
    for (int m = 0; m < M; ++m) load_matrices(a[m], a_place.at(m * 16, step));
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t b[4];
      load_matrices(b, b_place.at(n * 8, step));
#pragma unroll
      for (int m = 0; m < M; ++m) {
        multiply_add<In>(c[m][n], a[m], b[0], b[1]);
        multiply_add<In>(c[m][n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// The same with A in registers.
template <class In, int D, int N>
SNAKELM_DEVICE void multiply_rows(float (&c)[N][4], const uint32_t (&a)[D / 16][4],
                                  SharedAddress b_tile) {
  const LanePlace<D> b_place = across<D>(b_tile);
#pragma unroll
  for (int step = 0; step < D / 16; ++step) {
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t b[4];
      load_matrices(b, b_place.at(n * 8, step));
      multiply_add<In>(c[n], a[step], b[0], b[1]);
      multiply_add<In>(c[n + 1], a[step], b[2], b[3]);
    }
  }
}

// C[16 M][D] += A B: A [16 M][8 N] is a C of scores, rounded here; B a tile of 8 N rows.
template <class In, int D, int M, int N>
SNAKELM_DEVICE void multiply_columns(float (&c)[M][D / 8][4], const float (&scores)[M][N][4],
                                     SharedAddress b_tile) {
  const LanePlace<D> b_place = along<D>(b_tile);
#pragma unroll
  for (int step = 0; step < N / 2; ++step) {
    uint32_t a[M][4];
#pragma unroll
    for (int m = 0; m < M; ++m) {
      const float *const left = scores[m][2 * step], *const right = scores[m][2 * step + 1];
      a[m][0] = round_pair(In{}, left[0], left[1]);
      a[m][1] = round_pair(In{}, left[2], left[3]);
      a[m][2] = round_pair(In{}, right[0], right[1]);
      a[m][3] = round_pair(In{}, right[2], right[3]);
    }
#pragma unroll
    for (int d = 0; d < D / 16; ++d) {
      uint32_t b[4];
      load_matrices_transposed(b, b_place.at(step * 16, d));
#pragma unroll
      for (int m = 0; m < M; ++m) {
        multiply_add<In>(c[m][2 * d], a[m], b[0], b[1]);
        multiply_add<In>(c[m][2 * d + 1], a[m], b[2], b[3]);
      }
    }
  }
}

template <int M, int N>
SNAKELM_DEVICE void clear(float (&c)[M][N][4]) {
#pragma unroll
  for (int i = 0; i < M * N * 4; ++i) c[i / 4 / N][i / 4 % N][i % 4] = 0;
}

// Of what a lane holds of one of its two rows.
template <int N>
SNAKELM_DEVICE float sum_of_row(const float (&c)[N][4], int half) {
  float sum = 0;
#pragma unroll
  for (int n = 0; n < N; ++n) sum += c[n][half * 2] + c[n][half * 2 + 1];
  return sum;
}

// Over the four lanes that share a row.
SNAKELM_DEVICE float row_maximum(float x) {
  x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
  return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}
SNAKELM_DEVICE float row_sum(float x) {
  x += __shfl_xor_sync(ALL_LANES, x, 1);
  return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

// ---- rows that are not finite; only on the careful way ------------------------------------------

// An exponent of all ones in either half of any word: adding one to it carries into the sign.
template <class In>
SNAKELM_DEVICE bool is_broken(const Words& words) {
  constexpr uint32_t EXPONENT = __is_same(In, BFloat16) ? 0x7F807F80u : 0x7C007C00u;
  constexpr uint32_t ONE = __is_same(In, BFloat16) ? 0x00800080u : 0x04000400u;
  uint32_t signs = 0;
  for (const uint32_t word : words.word) signs |= (word & EXPONENT) + ONE;
  return (signs & 0x80008000u) != 0;
}

// Replaces broken chunks of a row by zeros; true where there was one.
template <class In, int D>
SNAKELM_DEVICE bool clean_row(SharedAddress tile, int row) {
  bool broken = false;
#pragma unroll 1
  for (int chunk = 0; chunk < D / 8; ++chunk) {
    const SharedAddress at = tile + place<D>(row, chunk);
    if (!is_broken<In>(load_shared<Words>(at))) continue;
    store_shared<Words>(at, Words{});
    broken = true;
  }
  return broken;
}

template <class In, int D>
SNAKELM_DEVICE bool row_is_broken(SharedAddress tile, int row) {
  bool broken = false;
#pragma unroll 1
  for (int chunk = 0; chunk < D / 8; ++chunk)
    broken |= is_broken<In>(load_shared<Words>(tile + place<D>(row, chunk)));
  return broken;
}

template <class In, int D>
SNAKELM_DEVICE void clear_row(SharedAddress tile, int row) {
#pragma unroll 1
  for (int chunk = 0; chunk < D / 8; ++chunk)
    store_shared<Words>(tile + place<D>(row, chunk), Words{});
}

}  // namespace snakelm
