#define SNAKELM_ISA avx512
#include "ops/attention/attention_kernel.h"

snakelm::AttentionKernels snakelm::avx512::attention_kernels(AttentionType type) {
  return type == AttentionType::float32 ? kernels_of<float, false>() : kernels_of<BFloat16, false>();
}
