// The hash of the tokenizer's tables, whose keys come from texts and files of unknown origin.
//
// Decision: seeded anew in each process. With known constants whoever writes a text can choose
// words that all have one hash, and a table of them takes quadratic time. Both factors of every
// product carry a secret, so none can be made 0. Nothing may depend on the order of a table, or
// results would differ from run to run: entries are numbered as they come.
#pragma once

#include <cstddef>
#include <cstdint>

namespace snakelm::text {

uint64_t hash_bytes(const uint8_t* p, size_t length);
uint64_t hash_number(uint64_t number);

}  // namespace snakelm::text
