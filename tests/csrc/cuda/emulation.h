// A GPU for one CPU thread: the functions of common/tensor_cores.cuh and the words of CUDA C++ that
// kernels use, so that a kernel's source runs under a C++ compiler as it is, on a stack of its own
// for every CUDA thread.
//
// Which thread goes on is drawn at random wherever a thread waits for others. Fragments are laid
// out as the PTX ISA says. Beyond values, a launch reports (emulation_error, and a code other than
// 0):
//   - two accesses to one place of shared memory, one of them a write, by different threads without
//     a barrier between them. Threads of one warp are not in step here: they need __syncwarp.
//   - any access to a place that an asynchronous copy has still to write, which it does no sooner
//     than its thread waits for it
//   - a read of what was never written, an address out of bounds or misaligned
//   - matrices whose eight rows collide in a bank
//   - a collective or a barrier that some threads don't come to, or come to with another one
// Built with the address sanitizer it also sees what is wrong in global memory.
#pragma once

#include <cmath>

#include "machine.h"

#define __global__
#define __device__
#define __launch_bounds__(...)
#define SNAKELM_DEVICE inline

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace snakelm {
namespace emulation {

struct Index {
  unsigned x, y, z;
};
inline Index block_index, grid_size, block_size;
inline Index thread_index() { return {static_cast<unsigned>(machine.current), 0, 0}; }

}  // namespace emulation

#define threadIdx (snakelm::emulation::thread_index())
#define blockIdx (snakelm::emulation::block_index)
#define gridDim (snakelm::emulation::grid_size)
#define blockDim (snakelm::emulation::block_size)

// ---- barriers and warps -------------------------------------------------------------------------

constexpr unsigned ALL_LANES = 0xFFFFFFFFu;

inline int __syncthreads_or(int condition) {
  auto& m = emulation::machine;
  static int any;
  if (m.block.here.empty()) any = 0;
  any |= condition;
  m.meet(m.block, static_cast<int>(m.threads.size()), "__syncthreads_or", [&] {
    m.any = any;
    ++m.block.epoch;
  });
  return m.any;
}
inline void __syncthreads() {
  auto& m = emulation::machine;
  m.meet(m.block, static_cast<int>(m.threads.size()), "__syncthreads", [&] { ++m.block.epoch; });
}
inline void __syncwarp() {
  auto& m = emulation::machine;
  m.meet(m.warp(), emulation::LANES, "__syncwarp", [&] { ++m.warp().epoch; });
}

struct Shuffle {
  float in, out;
  int from;
};
inline float shuffle(float x, int from) {
  Shuffle mine{x, 0, from};
  emulation::machine.meet_warp("a shuffle", mine, [](Shuffle** all) {
    for (int i = 0; i < emulation::LANES; ++i) all[i]->out = all[all[i]->from]->in;
  });
  return mine.out;
}
inline float __shfl_xor_sync(unsigned, float x, int step) {
  return shuffle(x, emulation::machine.current % emulation::LANES ^ step);
}
inline float __shfl_sync(unsigned, float x, int lane) { return shuffle(x, lane); }

// ---- numbers ------------------------------------------------------------------------------------

struct BFloat16 {
  uint16_t bits = 0;
};
struct Half {
  uint16_t bits = 0;
};

inline float widen(float x) { return x; }
inline float widen(BFloat16 x) {
  const uint32_t word = static_cast<uint32_t>(x.bits) << 16;
  float y;
  std::memcpy(&y, &word, sizeof y);
  return y;
}
inline float widen(Half x) {
  _Float16 y;
  std::memcpy(&y, &x.bits, sizeof y);
  return static_cast<float>(y);
}
inline void narrow(float x, float* to) { *to = x; }
inline void narrow(float x, BFloat16* to) {
  uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  to->bits = static_cast<uint16_t>(x == x ? (word + 0x7FFF + (word >> 16 & 1)) >> 16 : 0x7FFF);
}
inline void narrow(float x, Half* to) {
  const _Float16 y = static_cast<_Float16>(x);
  std::memcpy(&to->bits, &y, sizeof y);
}

template <class In>
uint32_t round_pair(In, float low, float high) {
  In pair[2];
  narrow(low, pair), narrow(high, pair + 1);
  return static_cast<uint32_t>(pair[1].bits) << 16 | pair[0].bits;
}

inline float power_of_two(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0 : y;
}

// ---- shared memory ------------------------------------------------------------------------------

using SharedAddress = uint32_t;

struct alignas(16) Words {
  uint32_t word[4];
};

inline SharedAddress shared_memory() { return 0; }
inline float* shared_floats() {  // not watched
  return reinterpret_cast<float*>(emulation::machine.shared.data());
}

template <class T>
T load_shared(SharedAddress address) {
  auto& m = emulation::machine;
  T value{};
  if (!m.in_bounds(address, sizeof(T))) return value;
  m.check_read(address, sizeof(T), m.current);
  std::memcpy(&value, m.shared.data() + address, sizeof(T));
  return value;
}
template <class T>
void store_shared(SharedAddress address, const T& value) {
  auto& m = emulation::machine;
  if (!m.in_bounds(address, sizeof(T))) return;
  m.check_write(address, sizeof(T));
  std::memcpy(m.shared.data() + address, &value, sizeof(T));
}

inline void copy_words(SharedAddress to, const void* from, bool valid) {
  emulation::machine.start_copy(to, from, 16, valid);
}
inline void copy_word(SharedAddress to, const void* from, bool valid) {
  emulation::machine.start_copy(to, from, 4, valid);
}
inline void wait_for_copies() { emulation::machine.finish_copies(); }

// ---- matrices -----------------------------------------------------------------------------------

struct Matrices {
  uint32_t* of;
  SharedAddress address;
};

inline void load_matrices(uint32_t (&of)[4], SharedAddress address, bool transposed) {
  auto& m = emulation::machine;
  Matrices mine{of, address};
  m.meet_warp(transposed ? "ldmatrix.trans" : "ldmatrix", mine, [&](Matrices** all) {
    uint16_t rows[32][8];
    for (int lane = 0; lane < emulation::LANES; ++lane) {
      const SharedAddress at = all[lane]->address;
      if (!m.in_bounds(at, 16)) continue;
      m.check_read(at, 16, emulation::SEVERAL);
      std::memcpy(rows[lane], m.shared.data() + at, 16);
    }
    for (int matrix = 0; matrix < 4; ++matrix) {
      unsigned banks = 0;
      for (int row = 0; row < 8; ++row) banks |= 1u << all[matrix * 8 + row]->address / 16 % 8;
      if (banks != 0xFF) m.report("ldmatrix: rows of a matrix share a bank");
      for (int lane = 0; lane < emulation::LANES; ++lane) {
        const int g = lane / 4, t = lane % 4 * 2;
        const auto entry = [&](int i) -> uint32_t {
          return transposed ? rows[matrix * 8 + t + i][g] : rows[matrix * 8 + g][t + i];
        };
        all[lane]->of[matrix] = entry(1) << 16 | entry(0);
      }
    }
  });
}
inline void load_matrices(uint32_t (&of)[4], SharedAddress address) {
  load_matrices(of, address, false);
}
inline void load_matrices_transposed(uint32_t (&of)[4], SharedAddress address) {
  load_matrices(of, address, true);
}

struct Product {
  float* c;
  const uint32_t* a;
  uint32_t b[2];
};

template <class In>
void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  Product mine{c, a, {b0, b1}};
  emulation::machine.meet_warp("mma", mine, [](Product** all) {
    const auto half = [](uint32_t pair, int i) {
      return widen(In{static_cast<uint16_t>(pair >> 16 * i)});
    };
    float left[16][16], right[16][8];
    for (int lane = 0; lane < emulation::LANES; ++lane) {
      const int g = lane / 4, t = lane % 4 * 2;
      for (int i = 0; i < 2; ++i) {
        for (int r = 0; r < 4; ++r)
          left[g + r % 2 * 8][t + r / 2 * 8 + i] = half(all[lane]->a[r], i);
        for (int r = 0; r < 2; ++r) right[t + r * 8 + i][g] = half(all[lane]->b[r], i);
      }
    }
    float sum[16][8] = {};
    for (int row = 0; row < 16; ++row)
      for (int k = 0; k < 16; ++k)
        for (int column = 0; column < 8; ++column)
          sum[row][column] += left[row][k] * right[k][column];
    for (int lane = 0; lane < emulation::LANES; ++lane)
      for (int i = 0; i < 4; ++i)
        all[lane]->c[i] += sum[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  });
}

// ---- launches -----------------------------------------------------------------------------------

using Stream = void*;

constexpr int MOST_SHARED = 163 << 10;  // bytes that a block may have at compute capability 8.0

// Blocks in random order; 0, or 1 with a text in machine.error.
template <class Kernel, class... Args>
int launch(Kernel kernel, dim3 grid, int threads, int bytes, Stream, Args... args) {
  auto& m = emulation::machine;
  m.error.clear();
  if (bytes > MOST_SHARED) m.report("more shared memory than a block may have");
  emulation::grid_size = {grid.x, grid.y, grid.z};
  emulation::block_size = {static_cast<unsigned>(threads), 1, 1};
  m.kernel = [=] { kernel(args...); };
  m.threads.clear();

  std::vector<unsigned> order(grid.x * grid.y * grid.z);
  for (unsigned i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), m.random);
  for (const unsigned i : order) {
    emulation::block_index = {i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y};
    m.run_block(threads, bytes);
    if (!m.error.empty()) return 1;
  }
  return 0;
}

inline const char* error_text(int) { return emulation::machine.error.c_str(); }

}  // namespace snakelm
