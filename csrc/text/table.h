// An encoder's tables in a file: a tokenizer is then loaded by mapping it, instead of by parsing
// ranks, hashing tokens and finding out what each is merged from.
//
// The file is a header and five arrays as they lie in memory, each at a multiple of ALIGNMENT:
// bytes, offsets and slots of Vocabulary, pairs and slots of MergeTable. It is a cache of what
// ranks.tiktoken says: whoever reads it names the tokenizer (SHA-256) and builds the encoder from
// the ranks if the file is another version's, another tokenizer's, another machine's, or damaged.
// What a file holds is never followed outside of it, whoever made it.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "common/texts.h"
#include "text/merge_table.h"
#include "text/vocabulary.h"

namespace snakelm::text {

using Identity = std::array<uint8_t, 32>;

// The seeds of a tokenizer's tables: the same file for the same tokenizer.
Seeds seeds_of(const Identity& identity);

std::string format_table(const Vocabulary& vocabulary, const MergeTable& merges,
                         const Identity& identity);

// Puts the checksum of what the file holds into its header.
void seal(std::string& file);

struct Tables {
  Vocabulary vocabulary;
  MergeTable merges;
};

// Refers to `file`, which must be 64-byte aligned and stay. Throws std::invalid_argument with what
// is wrong.
Tables read_table(View file, const Identity& identity);

}  // namespace snakelm::text
