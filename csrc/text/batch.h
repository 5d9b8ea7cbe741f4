// A batch of texts on threads: ids in the order of the texts, as 16 or 32 bits, each text on
// request with a token before it. The result does not depend on the number of threads.
//
// Decisions
// - Work is cut into tasks of about TASK_BYTES that follow each other in the batch, whole texts or
//   parts of a long one, so that no text holds the others up. A text is cut only where pieces end
//   whatever stands on either side (safe_cut), which leaves its ids as they are.
// - A task writes into memory that its thread keeps, and leaves a copy of just the ids there are:
//   the memory of a batch is that of its result twice over, not of an upper bound of it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "text/bpe.h"

namespace snakelm::text {

constexpr size_t TASK_BYTES = size_t{1} << 17;

// A place soon after `at` where the text may be cut: splitting what is before it and what is behind
// it gives the pieces of the whole. The text's length where there is none.
size_t safe_cut(Pattern pattern, View text, size_t at);

// Ids as uint16_t or uint32_t.
template <class Id>
class Batch {
 public:
  // Encodes the texts; `before`: an id that each text begins with, or NO_TOKEN. Throws
  // std::invalid_argument where an id would not fit.
  Batch(const Encoder& encoder, const std::vector<View>& texts, int threads, uint32_t before,
        size_t task_bytes = TASK_BYTES);

  size_t size() const { return size_; }
  size_t texts() const { return starts_.size(); }

  // Moves the result to ids [size] and offsets [texts + 1], where each text begins in ids.
  void take(Id* ids, int64_t* offsets);

 private:
  struct Task {
    size_t text, byte;  // where it begins; it ends where the next one begins
    std::unique_ptr<Id[]> ids;
    size_t count = 0;
  };

  void cut(Pattern pattern, const std::vector<View>& texts, size_t task_bytes);
  void encode(const Encoder& encoder, const std::vector<View>& texts, uint32_t before, size_t task,
              Scratch& scratch, Ids& ids);

  std::vector<Task> tasks_;     // the last one is the end of the batch and has no ids
  std::vector<size_t> starts_;  // [texts] first id of each text in its task
  size_t size_ = 0;
  int threads_;
};

extern template class Batch<uint16_t>;
extern template class Batch<uint32_t>;

}  // namespace snakelm::text
