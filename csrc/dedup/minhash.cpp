#include "minhash.h"

#include <iterator>

#include "minhash_lower.h"
#include "parallel.h"

namespace snakelm::text {

void lower_avx2(const uint32_t* x, size_t count, const uint32_t* a, const uint32_t* b, size_t places, uint32_t* out);

namespace {

using Lower = void (*)(const uint32_t*, size_t, const uint32_t*, const uint32_t*, size_t, uint32_t*);

Lower fastest_lower() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return lower_avx2;
#endif
    return lower;
}

// [2, permutations]: odd multipliers, then offsets. From a fixed seed: which texts are alike is no matter of chance.
std::vector<uint32_t> permutation_numbers(size_t permutations) {
    std::vector<uint32_t> numbers(2 * permutations);
    for (size_t i = 0; i < numbers.size(); ++i) {
        numbers[i] = static_cast<uint32_t>(mixed((i + 1) * 0x9E3779B97F4A7C15ull) >> 32) | (i < permutations ? 1 : 0);
    }
    return numbers;
}

bool alike(const uint16_t* a, const uint16_t* b, size_t permutations, size_t least) {
    uint16_t equal = 0;  // as wide as what is compared, so that a vector counts as it compares
    for (size_t i = 0; i < permutations; ++i) equal = static_cast<uint16_t>(equal + (a[i] == b[i]));
    return equal >= least;
}

}  // namespace

void signatures(const std::vector<View>& texts, size_t length, size_t permutations, int threads, uint32_t* out) {
    const Lower lower_all = fastest_lower();
    const std::vector<uint32_t> numbers = permutation_numbers(permutations);
    const uint32_t *a = numbers.data(), *b = a + permutations;
    const std::vector<size_t> bounds = chunk_bounds(texts, 1 << 18);
    for_each_chunk(bounds.size() - 1, threads, [&](size_t chunk, size_t) {
        std::vector<uint64_t> ring;
        uint32_t block[256];  // shingles taken at once: the least of them stays in a register
        for (size_t i = bounds[chunk]; i < bounds[chunk + 1]; ++i) {
            uint32_t* mine = out + i * permutations;
            std::fill(mine, mine + permutations, 0xFFFFFFFFu);
            size_t filled = 0;
            each_shingle(texts[i], length, ring, [&](uint64_t hash) {
                block[filled++] = static_cast<uint32_t>(hash);
                if (filled == std::size(block)) lower_all(block, filled, a, b, permutations, mine), filled = 0;
            });
            lower_all(block, filled, a, b, permutations, mine);
        }
    });
}

// A link may lead to a document that was dropped; that one's own link was shortened when it was decided on, so the
// nearest document that stays is never further than two links away. state[i] is kGone, or the last document that i was
// compared with plus one, so that a pair that shares several buckets is compared once.
size_t drop_near(const Candidates& all, size_t first, size_t last, size_t least, size_t fullest) {
    size_t dropped = 0;
    for (size_t j = first; j < last; ++j) {
        const uint16_t* mine = all.signatures + size_t{all.rows[j]} * all.permutations;
        for (size_t band = 0; band < all.bands; ++band) {
            uint32_t* links = all.links + band * all.documents;
            const auto staying = [&](uint32_t from) {
                uint32_t& link = links[from];
                if (link != kNoLink && all.state[link] == kGone) link = links[link];
                return link;
            };
            uint32_t other = staying(static_cast<uint32_t>(j));
            if (all.state[j] == kGone) continue;  // it only needed its links shortened
            for (size_t seen = 0; other != kNoLink && seen < fullest; ++seen, other = staying(other)) {
                if (all.state[other] == j + 1) continue;
                all.state[other] = static_cast<uint32_t>(j + 1);
                if (!alike(mine, all.signatures + size_t{all.rows[other]} * all.permutations, all.permutations, least)) continue;
                all.state[j] = kGone, ++dropped;
                break;
            }
        }
    }
    return dropped;
}

}  // namespace snakelm::text
