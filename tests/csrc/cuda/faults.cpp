// Kernels with one fault each, and what emulation.h is to say of it: an emulation that sees nothing
// proves nothing. Prints the faults that went unnoticed; exit status 1 where there is one.
#include <cstdio>

#include "emulation.h"

using namespace snakelm;

namespace {

constexpr int THREADS = 64;

int own() { return static_cast<int>(threadIdx.x); }
int other() { return (own() + 33) % THREADS; }  // of the other warp
int neighbour() { return own() ^ 1; }

// All of shared memory written, and a barrier.
void prepare() {
  for (int i = 0; i < 4; ++i) store_shared<Words>((own() * 4 + i) * 16, Words{});
  __syncthreads();
}

void sound() {
  prepare();
  store_shared<int>(own() * 4, 1);
  __syncthreads();
  load_shared<int>(other() * 4);
  __syncthreads();
  store_shared<int>(other() * 4, 2);
  __syncwarp();
  __syncthreads_or(own() == 3);
}

void read_without_barrier() {
  prepare();
  store_shared<int>(own() * 4, 1);
  load_shared<int>(other() * 4);
}

void write_without_barrier() {
  prepare();
  store_shared<int>(own() * 4, 1);
  __syncthreads();
  load_shared<int>(other() * 4);
  store_shared<int>(own() * 4, 2);
}

void warp_in_step() {
  prepare();
  store_shared<int>(own() * 4, 1);
  load_shared<int>(neighbour() * 4);
}

void two_writers() {
  prepare();
  store_shared<int>(own() / 2 * 4, 1);
}

alignas(16) const int source[8] = {};

void copy_without_wait() {
  prepare();
  copy_words(own() * 16, source, true);
  __syncthreads();
  load_shared<int>(own() * 16);
}

void copy_without_barrier() {
  prepare();
  copy_words(own() * 16, source, true);
  wait_for_copies();
  load_shared<int>(other() * 16);
}

void copy_over_what_is_read() {
  prepare();
  load_shared<int>(own() * 16);
  copy_words(other() * 16, source, true);
  wait_for_copies();
}

void copy_from_odd_place() {
  copy_words(own() * 16, reinterpret_cast<const char*>(source) + 4, true);
  wait_for_copies();
}

void unwritten() { load_shared<int>(own() * 4); }

void out_of_bounds() { store_shared<int>(own() * 4 + 4096, 1); }

void misaligned() { store_shared<int>(own() * 4 + 2, 1); }

void same_bank() {
  prepare();
  uint32_t of[4];
  load_matrices(of, static_cast<SharedAddress>(own() % 32 * 64));
}

void half_a_warp() {
  if (own() % 32 < 16) __syncwarp();
}

void divergent() {
  if (own() < 32)
    __syncthreads();
  else
    __syncthreads_or(0);
}

struct Fault {
  void (*kernel)();
  const char* found;  // null: none
};

const Fault FAULTS[] = {
    {sound, nullptr},
    {read_without_barrier, "race: "},
    {write_without_barrier, "race: "},
    {warp_in_step, "race: "},
    {two_writers, "race: "},
    {copy_without_wait, "read before a copy has arrived"},
    {copy_without_barrier, "race: "},
    {copy_over_what_is_read, "race: "},
    {copy_from_odd_place, "misaligned address"},
    {unwritten, "never written"},
    {out_of_bounds, "out of bounds"},
    {misaligned, "misaligned"},
    {same_bank, "share a bank"},
    {half_a_warp, "deadlock"},
    {divergent, "meets"},
};

}  // namespace

int main() {
  int missed = 0;
  for (unsigned seed = 0; seed < 20; ++seed) {
    emulation::machine.random.seed(seed);
    int i = 0;
    for (const Fault& fault : FAULTS) {
      const int code = launch(fault.kernel, dim3(2), THREADS, 4096, nullptr);
      const std::string said = emulation::machine.error;
      const bool right = fault.found ? code && said.find(fault.found) != std::string::npos : !code;
      if (!right) std::printf("fault %d, seed %u: %s\n", i, seed, said.c_str());
      missed += !right;
      ++i;
    }
  }
  std::printf("%d faults, %d times unnoticed\n", static_cast<int>(std::size(FAULTS)) - 1, missed);
  return missed != 0;
}
