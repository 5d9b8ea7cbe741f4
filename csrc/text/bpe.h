// Byte-level BPE encoding: text -> pieces (split.h) -> token ids.
//
// A piece that is a token is that token. Otherwise its bytes are merged by rank: of all
// neighbouring parts whose bytes together are a token, the pair with the lowest id merges first,
// the leftmost of equals. Ids are ranks. Short pieces rescan a small array per merge; long ones
// keep a heap over a linked list, O(n log n) and without recursion, so one megabyte of a single
// character is as cheap per byte as text. Nearly all pieces of a text are words met before, whose
// ids a cache has (word_cache.h).
#pragma once

#include <memory>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "text/ids.h"
#include "text/merge_table.h"
#include "text/pieces.h"
#include "text/table.h"
#include "text/vocabulary.h"
#include "text/word_cache.h"

namespace snakelm::text {

// The working memory of merging one piece.
struct MergeScratch {
  struct Part {
    uint32_t id;    // of the part
    uint32_t rank;  // id of this part and the next one together, or NO_TOKEN
    uint32_t previous, next;
  };

  std::vector<Part> parts;     // of a long piece, by their first byte
  std::vector<uint64_t> heap;  // rank << 32 | part
  Ids ids;                     // of one piece
};

// What one thread keeps from text to text: working memory, and what it has learned of an encoder's
// words. Make one a thread, use it with one encoder, and keep it as long as there is text: a text
// is encoded faster with the Scratch of the texts before it. The ids do not depend on it. They are
// Ids, uint16_t or uint32_t.
template <class Id>
class alignas(64) Scratch : public MergeScratch {
 public:
  explicit Scratch(const CacheLimits& limits = {}) : words(limits), long_words(limits) {}

  // The rest is the encoder's.
  static constexpr size_t AHEAD = 64;  // words whose entries are asked for before they are read
  static_assert(AHEAD % HASH_BLOCK == 0);

  WordCache<Id> words;
  LongWords<Id> long_words;
  uint32_t ends[PieceFinder::ROOM];
  WordKey keys[AHEAD] = {};
  uint32_t places[AHEAD];
};

class Encoder {
 public:
  // tokens[id]: as Vocabulary's. `isa`: the most to use of what there is here.
  Encoder(const std::vector<std::string_view>& tokens, Pattern pattern, Isa isa = best_isa(),
          const Seeds& seeds = {});
  // Of tables that were built before (table.h), in memory that stays as long as the encoder.
  Encoder(Tables tables, Pattern pattern, Isa isa = best_isa());

  // Appends the ids of `text`, any bytes, to `out`. As uint16_t only where each fits.
  template <class Id>
  void encode(View text, Scratch<Id>& scratch, IdsOf<Id>& out) const;

  // The two parts each token of two or more bytes is made of, by id: what its bytes merge to under
  // lower ranks. {NO_TOKEN, NO_TOKEN} where that is not two parts (the token is only ever found as
  // a whole piece).
  std::vector<std::pair<uint32_t, uint32_t>> merges() const;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  const MergeTable& merge_table() const { return merges_; }
  Pattern pattern() const { return finder_.pattern(); }

  // A Scratch of this encoder's, for the calling thread as long as it holds it; given back, it
  // serves the next call, on whichever thread.
  template <class Id>
  class Lent {
   public:
    explicit Lent(const Encoder& encoder);
    ~Lent();
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;
    Scratch<Id>& operator*() { return *scratch_; }

   private:
    const Encoder& encoder_;
    std::unique_ptr<Scratch<Id>> scratch_;
  };

 private:
  // Makes keys and places of the words that end at `ends`, and asks for their entries.
  template <class Id>
  void prepare_words(Bytes text, Bytes end, uint32_t start, const uint32_t* ends, size_t words,
                     Scratch<Id>& scratch) const;
  template <class Id>
  void find_places(Scratch<Id>& scratch, size_t words) const;
  // Appends the ids of the pieces that end at `ends`; the first begins at `text`. Up to `end` may
  // be read.
  template <class Id>
  void encode_pieces(Bytes text, Bytes end, const uint32_t* ends, size_t count,
                     Scratch<Id>& scratch, IdsOf<Id>& out) const;
  // The same for a word that the cache does not have. `key`: of length 0 for a long one.
  template <class Id>
  void encode_unknown(View piece, const WordKey& key, Scratch<Id>& scratch, IdsOf<Id>& out) const;
  template <class Id>
  void encode_long_word(View piece, Scratch<Id>& scratch, IdsOf<Id>& out) const;
  // The ids of a piece, without any memory of it, in scratch.ids.
  const Ids& encode_piece(View piece, MergeScratch& scratch) const;

  // Ids of the parts that `piece` merges to under ids < limit.
  void merge(View piece, uint32_t limit, MergeScratch& scratch, Ids& out) const;
  void merge_short(View piece, uint32_t limit, Ids& out) const;
  // `ids` [n]: of the bytes of a piece; `ranks` [n]: of each and the next one together.
  void ask_ahead(const uint32_t* ids, const uint64_t* ranks, size_t n) const;
  template <class Rank>
  void merge_long(View piece, size_t fewest, const Rank& rank, MergeScratch& scratch,
                  Ids& out) const;
  void index_bytes();
  void add_pair(uint32_t id, MergeScratch& scratch);
  template <class Id>
  std::vector<std::unique_ptr<Scratch<Id>>>& idle() const;  // that nobody has; under lock_

  Vocabulary vocabulary_;
  PieceFinder finder_;
  decltype(&portable::word_places) word_places_;  // null where there is none
  MergeTable merges_;
  uint32_t byte_ids_[256];
  std::unique_ptr<uint32_t[]> byte_pairs_;  // [65536] id of two bytes, or NO_TOKEN

  mutable std::mutex lock_;
  mutable std::vector<std::unique_ptr<Scratch<uint16_t>>> idle_16_;
  mutable std::vector<std::unique_ptr<Scratch<uint32_t>>> idle_32_;
};

extern template void Encoder::encode(View, Scratch<uint16_t>&, IdsOf<uint16_t>&) const;
extern template void Encoder::encode(View, Scratch<uint32_t>&, IdsOf<uint32_t>&) const;
extern template class Encoder::Lent<uint16_t>;
extern template class Encoder::Lent<uint32_t>;

}  // namespace snakelm::text
