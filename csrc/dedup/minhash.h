// MinHash signatures of texts (Broder 1997), and which of many texts are near duplicates of one
// that stays.
//
// Place i of a signature is the minimum, over the text's shingles, of a_i x + b_i modulo 2^32, a_i
// odd, x the low half of the shingle's hash. The hash has already made the sets random, so under
// any fixed permutation each shingle of either text is the least with equal chance, and two texts
// agree in a place with a probability of their Jaccard similarity. 32 bits go eight to a vector,
// and the signature is made while the text is read: no list of shingles exists.
#pragma once

#include "dedup/shingles.h"

namespace snakelm::dedup {

// out [texts, permutations]; all ones for a text without words.
void signatures(const std::vector<View>& texts, size_t length, size_t permutations, int threads,
                uint32_t* out);

constexpr uint32_t NO_LINK = 0xFFFFFFFF;
constexpr uint32_t DROPPED = 0xFFFFFFFF;

// What drop_near_duplicates works on: n documents in the order in which they are considered. The
// arrays may be maps of files: they are read front to back, and besides only where documents share
// a bucket.
struct Candidates {
  size_t documents;  // n < 2^32 - 1
  size_t bands;
  size_t permutations;
  size_t signature_rows;
  uint32_t* links;             // [bands, n] the document before in the same bucket, or NO_LINK;
                               // shortened as documents are dropped
  const uint16_t* signatures;  // [signature_rows, permutations] the low halves of signatures
  const uint32_t* rows;        // [n] each document's row there
  uint32_t* state;             // [n] zeros to begin with; DROPPED for a document that was dropped
};

// Decides on the documents first <= j < last, all before them being decided: j is dropped when its
// signature agrees in `min_equal` places or more with that of a document that stays and shares a
// bucket with it. At most `bucket_limit` documents of a bucket are compared with, the latest.
// Returns how many were dropped. Links and rows are checked as they are followed:
// std::invalid_argument where one leads to no document before, or to no signature.
size_t drop_near_duplicates(const Candidates& all, size_t first, size_t last, size_t min_equal,
                            size_t bucket_limit);

}  // namespace snakelm::dedup
