// Word shingles as 64-bit hashes: what texts are compared by, in deduplication and decontamination.
//
// A word is what normal_form.h says. A shingle is `length` words in a row; a text with fewer words
// is one shingle of all it has, one without words has none.
//
// One pass, no copy of the text: the hash of a shingle is a polynomial over its words' hashes
// modulo 2^64, so the next one costs two multiplications whatever its length, and memory is
// `length` words for a text of any size. Any bytes are allowed. Hashes are the same on every
// machine and with every compiler.
#pragma once

#include <vector>

#include "common/texts.h"
#include "dedup/normal_form.h"

namespace snakelm::dedup {

// murmur3's finaliser: a polynomial's low bits alone are no good hash.
inline uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 33)) * 0xFF51AFD7ED558CCDull;
  x = (x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53ull;
  return x ^ (x >> 33);
}

// The hashes of words, as a Reader's output.
template <class Visit>
class WordHashes {
 public:
  explicit WordHashes(Visit visit) : visit_(visit) {}
  void letter(uint32_t code) { hash_ = next(hash_, code); }
  Bytes ascii(Bytes p, Bytes end) {
    uint64_t hash = hash_;
    do hash = next(hash, WORD_BYTES[*p++]);
    while (p != end && WORD_BYTES[*p]);
    hash_ = hash;
    return p;
  }
  void finish() {
    visit_(mixed(hash_));
    hash_ = 0;
  }

 private:
  static uint64_t next(uint64_t hash, uint32_t letter) {
    return (hash + letter) * 0x9E3779B97F4A7C15ull;
  }
  uint64_t hash_ = 0;
  Visit visit_;
};

// Calls visit(hash) for every word of the text.
template <class Visit>
inline void each_word(View text, Visit visit) {
  WordHashes<Visit> hashes(visit);
  Reader(hashes).read(text);
}

// Calls visit(hash) for every shingle of the text, in order. `ring` is working memory, reused
// between texts.
template <class Visit>
inline void each_shingle(View text, size_t length, std::vector<uint64_t>& ring, Visit visit) {
  constexpr uint64_t BASE = 0xD6E8FEB86659FD93ull;
  uint64_t leading = 1;  // BASE^(length - 1): the weight of a shingle's first word
  for (size_t i = 1; i < length; ++i) leading *= BASE;
  ring.assign(length, 0);
  size_t words = 0, place = 0;
  uint64_t hash = 0;
  each_word(text, [&](uint64_t word) {
    hash = (hash - ring[place] * leading) * BASE + word;
    ring[place] = word;
    if (++place == length) place = 0;
    if (++words >= length) visit(mixed(hash));
  });
  if (words && words < length) visit(mixed(hash));
}

// Hashes of all texts end to end, a vector a chunk of texts.
struct Shingles {
  std::vector<std::vector<uint64_t>> chunks;
  std::vector<int64_t> counts;  // [texts]
};
Shingles shingles(const std::vector<View>& texts, size_t length, int threads);

}  // namespace snakelm::dedup
