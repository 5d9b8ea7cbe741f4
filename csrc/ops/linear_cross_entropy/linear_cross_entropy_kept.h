// The gradient of weight in float32 from exponentials that the rows pass has kept of a block of
// rows (KeptExponentials): a third product, where the vocabulary pass would need two.
//
//   grad_weight[v, c] += sum_i terms[v, i] x_ic        terms = factor_i exp(l_iv - maximum_i)
#pragma once

#include "common/multiply.h"
#include "common/workspace.h"
#include "ops/linear_cross_entropy/linear_cross_entropy_row.h"

namespace snakelm::SNAKELM_ISA {

class KeptPass {
 public:
  KeptPass(const LinearCrossEntropyProblem& problem)
      : p(problem), keep(*p.kept_exponentials), rows(keep.last - keep.first),
        across(up_to_whole(p.width, PANEL)),
        memory(across * (rows + KEPT_BLOCK) * sizeof(float) + 2 * 64),
        panels(memory.take<float>(across * rows)), sums(memory.take<float>(across * KEPT_BLOCK)) {}

  // Of weight rows [first, last); `first` a multiple of ROWS, as KEPT_BLOCK is.
  void add(int64_t first, int64_t last) const {
    static_assert(KEPT_BLOCK % ROWS == 0);
    pack_x();
    int64_t n = 0;
    for (int64_t v = first; v < last; v += n) {
      const int64_t of_block = KEPT_BLOCK - v % KEPT_BLOCK;
      n = last - v < of_block ? last - v : of_block;
      weigh(v, n);
      for (int64_t c = 0; c < across; c += PANEL) {
        for (int64_t r = 0; r < n; r += ROWS) {
          multiply<false, ROWS>(VECTORS, keep.terms + (v + r) * keep.row, keep.row, 1,
                                panels + c * rows, PANEL, static_cast<int>(rows),
                                sums + r * across + c, across, nullptr);
        }
      }
      for (int64_t r = 0; r < n; ++r) write_row(v + r, sums + r * across);
    }
  }

 private:
  // Rows of x as [C / PANEL][rows][PANEL], zeros beyond its width.
  void pack_x() const {
    for (int64_t i = 0; i < rows; ++i) {
      const float* const from = row<float>(p.x, p.kept[keep.first + i]);
      for (int64_t c = 0; c < across; c += PANEL) {
        float* const to = panels + c * rows + i * PANEL;
        const int64_t n = p.width - c < PANEL ? p.width - c : PANEL;
        if (n == PANEL) {
          std::memcpy(to, from + c, PANEL * sizeof(float));
        } else {
          for (int64_t j = 0; j < PANEL; ++j) to[j] = j < n ? from[c + j] : 0.0f;
        }
      }
    }
  }

  // Exponentials of vocabulary rows [v, v + n), of one block, become d loss / d logit: those of
  // rows whose maximum was raised later shrink as their sums did.
  void weigh(int64_t v, int64_t n) const {
    const float rate = (p.softcap == 0 ? 1.0f : p.softcap) * LOG2_OF_E;
    const float* const used = keep.maximum + v / KEPT_BLOCK * keep.row;
    for (int64_t i = 0; i < up_to_whole(rows, LANES); i += LANES) {
      Vec raised = splat(0.0f), factor = splat(0.0f);
      for (int64_t j = 0; j < LANES && i + j < rows; ++j) {
        const RowTerms& own = p.terms[keep.first + i + j];
        raised[j] = used[i + j] - own.maximum, factor[j] = own.factor * p.scale;
      }
      const Vec by = exp2<5>(raised * splat(rate)) * factor;
      for (int64_t r = 0; r < n; ++r) {
        float* const at = keep.terms + (v + r) * keep.row + i;
        store(at, load(at) * by);
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t at = p.target[p.kept[keep.first + i]] - v;
      if (at >= 0 && at < n)
        keep.terms[(v + at) * keep.row + i] = p.terms[keep.first + i].target * p.scale;
    }
  }

  void write_row(int64_t v, const float* from) const {
    float* const to = row<float>(p.grad_weight, v, p.width);
    if (keep.first == 0) {
      along(p.width, [&](int64_t c, auto lanes) { write(read(from + c, lanes), to + c, lanes); });
    } else {
      along(p.width, [&](int64_t c, auto lanes) {
        write(read(to + c, lanes) + read(from + c, lanes), to + c, lanes);
      });
    }
  }

  const LinearCrossEntropyProblem& p;
  const KeptExponentials& keep;
  const int64_t rows, across;  // of x; its width up to whole panels
  Workspace memory;
  float *const panels, *const sums;
};

}  // namespace snakelm::SNAKELM_ISA
