#include "text/merge_table.h"

namespace snakelm::text {

MergeTable::MergeTable(size_t tokens, const Seeds& seeds)
    : pairs_(std::vector<Pair>(tokens, {NO_TOKEN, NO_TOKEN})), ids_(tokens), seeds_(seeds) {}

MergeTable::MergeTable(Array<Pair> pairs, IdSlots ids, const Seeds& seeds)
    : pairs_(std::move(pairs)), ids_(std::move(ids)), seeds_(seeds) {}

void MergeTable::insert(uint32_t left, uint32_t right, uint32_t id) {
  pairs_.own(id) = {left, right};
  ids_.insert(hash(left, right), id);
}

}  // namespace snakelm::text
