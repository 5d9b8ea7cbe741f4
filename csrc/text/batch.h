// A batch of texts on threads: ids in the order of the texts, as 16 or 32 bits, each text on
// request with a token before it. The result does not depend on the number of threads.
//
// Decisions
// - Work is cut into tasks of about TASK_BYTES that follow each other in the batch, whole texts or
//   parts of a long one, so that no text holds the others up. A text is cut only where pieces end
//   whatever stands on either side (safe_cut), which leaves its ids as they are.
// - Memory for more ids than most texts have is taken beforehand. One thread writes there; several
//   write into memory of their own, and copy a task's ids over as soon as all tasks before it are
//   counted, while they are still in the cache. What doesn't fit is put behind them at the end.
//   Large pages are cleared ahead of them, each by one thread.
#pragma once

#include <cstdint>
#include <mutex>
#include <utility>
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

  // Moves the ids out, once; offsets [texts + 1]: where each text begins in them.
  IdsOf<Id> take(int64_t* offsets);

 private:
  struct Task {
    size_t text, byte;  // where it begins; it ends where the next one begins
    size_t count = 0;   // of its ids
    size_t place = 0;   // of the first one among all
    bool done = false;
  };
  // Of one thread; a cache line each, as IdsOf is.
  struct Worker {
    IdsOf<Id> ids;
    std::vector<std::pair<size_t, size_t>> waiting;  // tasks, and where their ids are in ids
  };

  void cut(Pattern pattern, const std::vector<View>& texts, size_t task_bytes);
  void encode(const Encoder& encoder, const std::vector<View>& texts, uint32_t before, size_t task,
              Scratch<Id>& scratch, IdsOf<Id>& ids);
  // Has the part of all_ cleared that will be written next, unless another thread does.
  void clear_ahead();
  // Gives the task its place if those before it have theirs; copies what the worker can.
  void finish(size_t task, Worker& worker);
  void copy(const Worker& worker, std::pair<size_t, size_t> waiting);

  std::vector<Task> tasks_;     // the last one is the end of the batch and has no ids
  std::vector<size_t> starts_;  // [texts] first id of each text in its task
  std::vector<Worker> workers_;
  IdsOf<Id> all_;
  size_t room_ = 0;  // of all_

  std::mutex lock_;     // of the tasks' places and of what follows
  size_t placed_ = 0;   // tasks that have a place
  size_t size_ = 0;     // their ids
  size_t cleared_ = 0;  // ids of all_ that some thread has cleared, or is about to
};

extern template class Batch<uint16_t>;
extern template class Batch<uint32_t>;

}  // namespace snakelm::text
