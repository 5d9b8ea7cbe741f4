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
// With AMX, bfloat16 goes by tiles instead (attention_amx.h and what includes it).
//
// Memory of one thread, D rounded up to whole vectors:
//   forward    k and v of the item's keys, 3 T D words; 48 rows of q and of o
//   backward   q, k, v, grad_out packed both ways, 7 T D words; grad_q, grad_k, grad_v, 3 T D
//   floats on stack   scores of 6 rows x a chunk (forward); p and ds of 48 rows x a chunk
//   (backward)
// and where backward is cut, which is where there are fewer than 16 (batch, key head) pairs, the
// parts' shares of grad_q: at most 16 T D floats for each query head of a group, for all threads.
#if defined(__AMX_BF16__)
#include "ops/attention/attention_amx_backward.h"
#include "ops/attention/attention_amx_forward.h"
#else
#include "ops/attention/attention_backward.h"
#include "ops/attention/attention_forward.h"
#endif

namespace snakelm::SNAKELM_ISA {

template <class In, class ForwardKernel, class BackwardKernel>
AttentionKernels kernels_of() {
  return {
      [](const AttentionProblem& p, const AttentionItem& i) { ForwardKernel(p, i).run(); },
      [](const AttentionProblem& p, const AttentionItem& i) { BackwardKernel(p, i).run(); },
      [](const AttentionProblem& p, const AttentionItem& i, const AttentionParts& parts) {
        GradQSum<In>(p, i).run(parts);
      },
  };
}

AttentionKernels attention_kernels(AttentionType type) {
  // float32 gains nothing from products of bfloat16 and stays with avx512.
#if defined(__AMX_BF16__)
  if (type == AttentionType::float32) return {};
  return kernels_of<BFloat16, AmxForward, AmxBackward>();
#elif defined(__AVX512BF16__)
  if (type == AttentionType::float32) return {};
  return kernels_of<BFloat16, Forward<BFloat16, true>, Backward<BFloat16, true> >();
#else
  return type == AttentionType::float32
             ? kernels_of<float, Forward<float, false>, Backward<float, false> >()
             : kernels_of<BFloat16, Forward<BFloat16, false>, Backward<BFloat16, false> >();
#endif
}

}  // namespace snakelm::SNAKELM_ISA
