// bfloat16 in pairs; float32 gains nothing from this instruction set and stays with avx512.
#define SNAKELM_ISA avx512bf16
#include "ops/attention/attention_kernel.h"

snakelm::AttentionKernels snakelm::avx512bf16::attention_kernels(AttentionType) {
  return kernels_of<BFloat16, true>();
}
