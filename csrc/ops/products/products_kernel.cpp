// Products of float32 matrices on one CPU core; compiled once for each instruction set
// (common/isa.h). products_block.h has the layouts and the loops.
#include "common/workspace.h"
#include "ops/products/products_block.h"

namespace snakelm::SNAKELM_ISA {

void product(const Product& product, const ProductItem& item) {
  Workspace memory(ProductBlock::PACKED * sizeof(float));
  ProductBlock(product, item, memory.take<float>(ProductBlock::PACKED)).run();
}

}  // namespace snakelm::SNAKELM_ISA
