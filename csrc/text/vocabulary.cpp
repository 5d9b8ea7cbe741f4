#include "text/vocabulary.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "text/hash.h"

namespace snakelm::text {

Vocabulary::Vocabulary(const std::vector<std::string_view>& tokens) {
  if (tokens.size() >= NO_TOKEN / 8)
    throw std::invalid_argument("too many tokens: " + std::to_string(tokens.size()));
  offsets_.reserve(tokens.size() + 1);
  offsets_.push_back(0);
  for (const std::string_view token : tokens) {
    bytes_.insert(bytes_.end(), token.begin(), token.end());
    if (bytes_.size() >= NO_TOKEN) throw std::invalid_argument("tokens exceed 4 GiB together");
    offsets_.push_back(static_cast<uint32_t>(bytes_.size()));
    longest_ = std::max(longest_, token.size());
  }

  size_t capacity = 1024;
  while (capacity < 2 * tokens.size()) capacity *= 2;
  slots_.assign(capacity, {0, NO_TOKEN});
  mask_ = capacity - 1;

  for (uint32_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].empty()) continue;
    const auto* p = reinterpret_cast<const uint8_t*>(tokens[id].data());
    if (const uint32_t twin = find(p, tokens[id].size()); twin != NO_TOKEN) {
      throw std::invalid_argument("ids " + std::to_string(twin) + " and " + std::to_string(id) +
                                  " are the same token");
    }
    const uint64_t hash = hash_bytes(p, tokens[id].size());
    uint64_t i = hash & mask_;
    while (slots_[i].id != NO_TOKEN) i = (i + 1) & mask_;
    slots_[i] = {static_cast<uint32_t>(hash >> 32), id};
  }

  for (int b = 0; b < 256; ++b) {
    const auto byte = static_cast<uint8_t>(b);
    if (find(&byte, 1) == NO_TOKEN)
      throw std::invalid_argument("no token for byte " + std::to_string(b));
  }
}

uint32_t Vocabulary::find(const uint8_t* p, size_t length) const {
  if (length > longest_) return NO_TOKEN;
  const uint64_t hash = hash_bytes(p, length);
  const auto check = static_cast<uint32_t>(hash >> 32);
  for (uint64_t i = hash & mask_; slots_[i].id != NO_TOKEN; i = (i + 1) & mask_) {
    if (slots_[i].check != check) continue;
    const uint32_t id = slots_[i].id;
    const uint32_t begin = offsets_[id];
    if (offsets_[id + 1] - begin == length && std::memcmp(bytes_.data() + begin, p, length) == 0)
      return id;
  }
  return NO_TOKEN;
}

}  // namespace snakelm::text
