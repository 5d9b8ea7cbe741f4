// The instructions of a GPU from compute capability 8.0 on that CUDA C++ has no words for, one
// function each: tensor-core products, ldmatrix, asynchronous copies, rounding in pairs.
//
// Kernels are written on these functions, so that their source also compiles for a CPU, where
// tests/csrc/cuda/emulation.h has the same names and runs them thread by thread.
//
// Shared memory is addressed in bytes from its beginning: 32 bits, half the registers of a pointer.
//
// mma.m16n8k16, lane = 4 g + t (PTX ISA, "Matrix Fragments for mma.m16n8k16"):
//   A [16][16]  a0: row g, columns 2t, 2t + 1    a1: row g + 8    a2, a3: columns + 8
//   B [16][8]   b0: rows 2t, 2t + 1, column g    b1: rows + 8
//   C [16][8]   c0, c1: row g, columns 2t, 2t + 1    c2, c3: row g + 8
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace snakelm {

#define SNAKELM_DEVICE __device__ __forceinline__

constexpr unsigned ALL_LANES = 0xFFFFFFFFu;

using BFloat16 = __nv_bfloat16;
using Half = __half;

using SharedAddress = uint32_t;

// Sixteen bytes.
struct alignas(16) Words {
  uint32_t word[4];
};

// The dynamic shared memory of the block; the first address is a multiple of 128.
SNAKELM_DEVICE SharedAddress shared_memory() {
  extern __shared__ __align__(128) unsigned char snakelm_shared[];
  return static_cast<SharedAddress>(__cvta_generic_to_shared(snakelm_shared));
}

SNAKELM_DEVICE float* shared_floats() {
  extern __shared__ __align__(128) unsigned char snakelm_shared[];
  return reinterpret_cast<float*>(snakelm_shared);
}

template <class T>
SNAKELM_DEVICE T* shared_pointer(SharedAddress address) {
  return static_cast<T*>(__cvta_shared_to_generic(address));
}
template <class T>
SNAKELM_DEVICE T load_shared(SharedAddress address) {
  return *shared_pointer<const T>(address);
}
template <class T>
SNAKELM_DEVICE void store_shared(SharedAddress address, const T& value) {
  *shared_pointer<T>(address) = value;
}

// 16 bytes from global to shared memory, past the registers and the L1; zeros where !valid.
SNAKELM_DEVICE void copy_words(SharedAddress to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to),
               "l"(__cvta_generic_to_global(from)), "r"(valid ? 16 : 0)
               : "memory");
}
// The same of 4 bytes.
SNAKELM_DEVICE void copy_word(SharedAddress to, const void* from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to),
               "l"(__cvta_generic_to_global(from)), "r"(valid ? 4 : 0)
               : "memory");
}
// The copies of this thread so far have arrived; others' are seen after a barrier.
SNAKELM_DEVICE void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Four matrices of 8 rows of 16 bytes; lane 8 i + r has the address of row r of matrix i. of[i] is
// the lane's pair of matrix i: row g, columns 2t, 2t + 1; transposed: column g, rows 2t, 2t + 1.
SNAKELM_DEVICE void load_matrices(uint32_t (&of)[4], SharedAddress address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(of[0]), "=r"(of[1]), "=r"(of[2]), "=r"(of[3])
               : "r"(address)
               : "memory");
}
SNAKELM_DEVICE void load_matrices_transposed(uint32_t (&of)[4], SharedAddress address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(of[0]), "=r"(of[1]), "=r"(of[2]), "=r"(of[3])
               : "r"(address)
               : "memory");
}

// c += a b; float32 sums.
template <class In>
SNAKELM_DEVICE void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  static_assert(sizeof(In) == 2, "bfloat16 or float16");
  if constexpr (__is_same(In, BFloat16)) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// Two floats rounded to nearest, the first in the low half.
SNAKELM_DEVICE uint32_t round_pair(BFloat16, float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
SNAKELM_DEVICE uint32_t round_pair(Half, float low, float high) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

SNAKELM_DEVICE float widen(float x) { return x; }
SNAKELM_DEVICE float widen(Half x) { return __half2float(x); }
SNAKELM_DEVICE float widen(BFloat16 x) { return __bfloat162float(x); }
SNAKELM_DEVICE void narrow(float x, float* to) { *to = x; }
SNAKELM_DEVICE void narrow(float x, Half* to) { *to = __float2half_rn(x); }
SNAKELM_DEVICE void narrow(float x, BFloat16* to) { *to = __float2bfloat16_rn(x); }

// 2^x within two units of the last place; results below the normal range are zero.
SNAKELM_DEVICE float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

using Stream = void*;  // a cudaStream_t

// kernel<<<grid, threads, bytes of shared memory>>>; a cudaError_t. More than 48 KB must be asked
// for.
template <class Kernel, class... Args>
int launch(Kernel kernel, dim3 grid, int threads, int bytes, Stream stream, Args... args) {
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  kernel<<<grid, threads, bytes, static_cast<cudaStream_t>(stream)>>>(args...);
  return cudaGetLastError();
}

inline const char* error_text(int code) {
  return cudaGetErrorString(static_cast<cudaError_t>(code));
}

}  // namespace snakelm
