// The CUDA kernels of attention for a CPU: their source as it is, over emulation.h.
#include "ops/attention/attention_cuda.cu"

extern "C" void snakelm_emulation_seed(uint64_t seed) {
  snakelm::emulation::machine.random.seed(seed);
}
