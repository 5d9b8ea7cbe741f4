// The launchers of attention on a GPU, and which kernel runs.
//
//   bfloat16, float16   tensor cores by mma.sync: attention_mma_{forward,backward}.cuh
//   float32             scalar products: attention_scalar.cuh
#include "ops/attention/attention_delta.cuh"
#include "ops/attention/attention_mma_backward.cuh"
#include "ops/attention/attention_mma_forward.cuh"
#include "ops/attention/attention_scalar.cuh"

namespace {

using namespace snakelm;

constexpr int INVALID = 1;  // cudaErrorInvalidValue

// The head dimension as a constant: what a kernel pads it to.
template <class Run>
int for_head_dim(int64_t head_dim, Run run) {
  if (head_dim <= 32) return run(std::integral_constant<int, 32>{});
  if (head_dim <= 64) return run(std::integral_constant<int, 64>{});
  if (head_dim <= 96) return run(std::integral_constant<int, 96>{});
  if (head_dim <= 128) return run(std::integral_constant<int, 128>{});
  return INVALID;
}

template <class In>
int forward(const AttentionProblem& p, Stream stream) {
  return for_head_dim(p.head_dim, [&](auto dim) {
    if constexpr (sizeof(In) == 4)
      return forward_scalar<dim == 96 ? 128 : dim>(p, stream);
    else
      // The place of a kernel for Hopper (attention_wgmma.cuh: wgmma, TMA, warps that only load),
      // here and in backward, where the device's compute capability is 9.0: mma.sync reaches some
      // 60% of what its tensor cores can do.
      return forward_mma<In, dim>(p, stream);
  });
}

template <class In>
int backward(const AttentionProblem& p, float* delta, Stream stream) {
  if (const int error = compute_delta<In>(p, delta, stream)) return error;
  return for_head_dim(p.head_dim, [&](auto dim) {
    if constexpr (sizeof(In) == 4)
      return backward_scalar<dim == 96 ? 128 : dim>(p, delta, stream);
    else
      return backward_mma<In, dim>(p, delta, stream);
  });
}

// y and z of a grid, positions in 32 bits with room for a tile.
bool fits(const AttentionProblem& p) {
  return p.head_dim <= 128 && p.batch <= 65535 && p.heads <= 65535 && p.time <= INT32_MAX - 1024;
}

template <class Run>
int for_type(const AttentionProblem& p, Run run) {
  if (p.batch == 0 || p.time == 0) return 0;
  if (!fits(p)) return INVALID;
  switch (p.type) {
    case AttentionType::float32: return run(float{});
    case AttentionType::bfloat16: return run(BFloat16{});
    case AttentionType::float16: return run(Half{});
  }
  return INVALID;
}

}  // namespace

extern "C" int snakelm_attention_forward_cuda(const AttentionProblem* problem, void* stream) {
  return for_type(*problem, [&](auto in) { return forward<decltype(in)>(*problem, stream); });
}

extern "C" int snakelm_attention_backward_cuda(const AttentionProblem* problem, float* workspace,
                                               void* stream) {
  if (!workspace) return INVALID;
  return for_type(*problem,
                  [&](auto in) { return backward<decltype(in)>(*problem, workspace, stream); });
}

extern "C" const char* snakelm_cuda_error(int code) { return snakelm::error_text(code); }
