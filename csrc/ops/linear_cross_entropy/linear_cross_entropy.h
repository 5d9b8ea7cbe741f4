// Cross-entropy of a linear head whose logits are never in memory: pointers and sizes.
//
//   l_ij = <x_i, w_j>, softcapped: c tanh(l_ij / c)      s_i = log sum_j exp(l_ij)
//   loss_i = s_i - l_it + z s_i^2                        t the row's target
//
// Two passes, each over tiles of logits that live and die in the cache, and no sum between items of
// work, so that threads change no bit:
//   rows         a block of rows against all of the vocabulary: losses, and the gradient of x, by
//                the online softmax of attention with w as keys and values
//   vocabulary   a block of the vocabulary against all rows: the gradient of w, from the logits
//                multiplied again and what the rows pass left of each row
// So there are four products where three would do with logits in memory; but nothing of size N x V
// or, beside the gradient itself, V x C is read or written. That pays in bfloat16, whose products
// are fast. In float32 they are nearly all of the time: there, with both gradients wanted, the rows
// pass keeps the exponentials of a block of rows (at most an eighth of the logits, or of 64 rows),
// and the gradient of w is added up block by block.
#pragma once

#include "common/element.h"
#include "common/isa.h"
#include "common/parallel.h"

namespace snakelm {

// What the vocabulary pass needs to know of a row.
struct RowTerms {
  float maximum;  // of the logits but the target's, or a little less; in units of the softcap
  float factor;   // d loss_i / d l_ij = factor exp(l_ij - maximum), times the slope of the softcap
  float target;   // d loss_i / d l_it, that slope included
};

// What the rows pass keeps of kept rows [first, last); vocabulary rows in blocks of KEPT_BLOCK.
constexpr int64_t KEPT_BLOCK = 192;
struct KeptExponentials {
  float* terms = nullptr;    // [V up to whole blocks][row]
  float* maximum = nullptr;  // [V / KEPT_BLOCK][row]: of each row at that time
  int64_t row = 0, first = 0, last = 0;
};

struct LinearCrossEntropyProblem {
  Element type = Element::float32;              // of x and its gradient; products are of this type
  Element weight_type = Element::float32;       // of weight and its gradient: type, or float32
  int64_t rows = 0, width = 0, vocabulary = 0;  // rows: that have a target
  Rows x, weight;                               // [N, C], [V, C]
  const int64_t* kept = nullptr;                // [rows]: which of the N
  const int64_t* target = nullptr;              // [N]
  float z_loss = 0, softcap = 0;                // 0: without
  float scale = 1;                              // of the gradient
  float* loss = nullptr;                        // [rows]
  RowTerms* terms = nullptr;                    // [rows]
  void* grad_x = nullptr;                       // [N, C], or null; of kept rows only
  void* grad_weight = nullptr;                  // [V, C]
  const KeptExponentials* kept_exponentials = nullptr;  // of the rows that a rows pass is for
};

// level: as isa_level takes it. Null on success, else a message. Results don't depend on `threads`.
const char* linear_cross_entropy_rows_cpu(const LinearCrossEntropyProblem& problem, int level,
                                          int threads, ParallelFor parallel_for);
const char* linear_cross_entropy_vocabulary_cpu(const LinearCrossEntropyProblem& problem, int level,
                                                int threads, ParallelFor parallel_for);

// Both passes, for float32 in x, weight and both gradients, which are written.
const char* linear_cross_entropy_both_cpu(const LinearCrossEntropyProblem& problem, int level,
                                          int threads, ParallelFor parallel_for);

// Rows [first, last) of the kept, or of the vocabulary.
using LinearCrossEntropyPass = void (*)(const LinearCrossEntropyProblem& problem, int64_t first,
                                        int64_t last);
struct LinearCrossEntropyPasses {
  LinearCrossEntropyPass rows, vocabulary;  // null where another level serves this type
  LinearCrossEntropyPass kept;              // the vocabulary's from kept exponentials; float32 only
};

// In linear_cross_entropy_kernel.cpp.
SNAKELM_DECLARE_KERNEL(LinearCrossEntropyPasses, linear_cross_entropy_passes,
                       (Element type, Element weight_type))

}  // namespace snakelm
