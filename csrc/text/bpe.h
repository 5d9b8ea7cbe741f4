// Byte-level BPE encoding: text -> pieces (split.h) -> token ids.
//
// A piece that is a token is that token. Otherwise its bytes are merged by rank: of all
// neighbouring parts whose bytes together are a token, the pair with the lowest id merges first,
// the leftmost of equals. Ids are ranks. Short pieces rescan a small array per merge; long ones
// keep a heap over a linked list, O(n log n) and without recursion, so one megabyte of a single
// character is as cheap per byte as text.
#pragma once

#include <memory>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "text/ids.h"
#include "text/split.h"
#include "text/vocabulary.h"

namespace snakelm::text {

// What one thread keeps from text to text: working memory, and what it has learned of an encoder's
// words. Make one a thread, use it with one encoder, and keep it as long as there is text: a text
// is encoded faster with the Scratch of the texts before it. The ids do not depend on it.
struct Scratch {
  struct Part {
    uint32_t start;  // byte offset in the piece
    uint32_t rank;   // id of this part and the next one together, or NO_TOKEN
  };
  std::vector<Part> parts;
  std::vector<uint32_t> previous, next;
  std::vector<uint64_t> heap;  // rank << 32 | part
};

class Encoder {
 public:
  Encoder(const std::vector<std::string_view>& tokens, Pattern pattern);

  // Appends the ids of `text`, any bytes, to `out`.
  void encode(View text, Scratch& scratch, Ids& out) const;

  // The two parts each token of two or more bytes is made of, by id: what its bytes merge to under
  // lower ranks. {NO_TOKEN, NO_TOKEN} where that is not two parts (the token is only ever found as
  // a whole piece).
  std::vector<std::pair<uint32_t, uint32_t>> merges() const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

  // A Scratch of this encoder's, for the calling thread as long as it holds it; given back, it
  // serves the next call, on whichever thread.
  class Lent {
   public:
    explicit Lent(const Encoder& encoder);
    ~Lent();
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;
    Scratch& operator*() { return *scratch_; }

   private:
    const Encoder& encoder_;
    std::unique_ptr<Scratch> scratch_;
  };

 private:
  template <class Split>
  void encode_as(View text, Scratch& scratch, Ids& out) const;
  // Merges `piece` under ids < limit. The parts that it ends with are left in `parts`, or by
  // merge_long in scratch.next: the first is [0, next[0]), then [next[0], next[next[0]]) ….
  void merge_short(View piece, uint32_t limit, std::vector<Scratch::Part>& parts) const;
  void merge_long(View piece, uint32_t limit, Scratch& scratch) const;
  void encode_long(View piece, Scratch& scratch, Ids& out) const;
  // Bytes of the first of the two parts that merging ends with; 0 where it is not two.
  size_t first_of_two(View token, uint32_t limit, Scratch& scratch) const;
  uint32_t rank(Bytes from, Bytes to, uint32_t limit) const;

  Vocabulary vocabulary_;
  Pattern pattern_;
  std::unique_ptr<uint32_t[]>
      byte_pairs_;  // [65536] id of two bytes, or NO_TOKEN: the first look of every merge

  mutable std::mutex lock_;  // of idle_
  mutable std::vector<std::unique_ptr<Scratch>> idle_;
};

struct Batch {
  std::vector<Ids> chunks;       // ids of consecutive texts; their concatenation is the result
  std::vector<int64_t> lengths;  // [texts] ids per text
};

// Encodes the texts on `threads` threads. The result does not depend on `threads`.
Batch encode_batch(const Encoder& encoder, const std::vector<View>& texts, int threads);

}  // namespace snakelm::text
