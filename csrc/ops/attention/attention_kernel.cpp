// Flash attention on one CPU core, forward and backward, for any vector width; compiled once for
// each instruction set (common/isa.h).
//
//   s_ij = scale <q_i, k_j>       p_ij = exp(s_ij - m_i)       o_i = sum_j p_ij v_j / sum_j p_ij
//
// The idea (online softmax: Milakov & Gimelshein 2018, arXiv:1805.02867; FlashAttention: Dao et al.
// 2022, arXiv:2205.14135): T x T scores are never in memory at once. A tile of 48 queries walks
// over its keys in chunks, and the scores of one chunk live and die in the cache
// (attention_forward.h). Backward computes them again from q, k and the saved log-sum
// (attention_backward.h).
//
// What both need is in attention_tiles.h: packed copies of the inputs, and the products.
//
// Memory of one thread, D rounded up to whole vectors:
//   forward    k and v of the item's keys, 3 T D words; 48 rows of q and of o
//   backward   q, k, v, grad_out packed both ways, 7 T D words; grad_q, grad_k, grad_v, 3 T D
//   floats on stack   scores of 6 rows x a chunk (forward); p and ds of 48 rows x a chunk
//   (backward)
#include "ops/attention/attention_backward.h"
#include "ops/attention/attention_forward.h"

namespace snakelm::SNAKELM_ISA {

template <class In, bool PAIRS>
AttentionKernels kernels_of() {
  return {
      [](const AttentionProblem& p, const AttentionItem& i) { Forward<In, PAIRS>(p, i).run(); },
      [](const AttentionProblem& p, const AttentionItem& i) { Backward<In, PAIRS>(p, i).run(); },
  };
}

AttentionKernels attention_kernels(AttentionType type) {
#if defined(__AVX512BF16__)
  // float32 gains nothing from pairs of bfloat16 and stays with avx512.
  return type == AttentionType::bfloat16 ? kernels_of<BFloat16, true>() : AttentionKernels{};
#else
  return type == AttentionType::float32 ? kernels_of<float, false>()
                                        : kernels_of<BFloat16, false>();
#endif
}

}  // namespace snakelm::SNAKELM_ISA
