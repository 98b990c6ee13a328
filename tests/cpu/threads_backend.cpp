// The laws of backends on CPU backends of two and three threads, and what threads must not change.
#define PREHEAT_TEST_THREADS
#include "core/backend.cpp"

namespace {

// A product of the shapes that a training step has, on so many threads.
table on_threads(int threads, transpose ta, const table& a, transpose tb, const table& b,
                 const table& c) {
  cpu_float be(threads);
  block_in_frame<cpu_float> A(be, a);
  block_in_frame<cpu_float> B(be, b);
  block_in_frame<cpu_float> C(be, c);
  be.gemm(2, ta, A.block(), tb, B.block(), 0.5F, C.block());
  CHECK(C.intact(be));
  return C.read_block(be);
}

}  // namespace

// Thin products are cut by their shape, large ones by the threads, at the sizes that are shipped.
TEST_CASE("backend: products of a training step on one, two and three threads") {
  struct shape {
    transpose ta, tb;
    index_t m, n, k;
  };
  const shape shapes[] = {
      {transpose::no, transpose::no, 8, 301, 768},   {transpose::yes, transpose::no, 8, 301, 768},
      {transpose::no, transpose::yes, 301, 8, 768},  {transpose::no, transpose::yes, 8, 301, 768},
      {transpose::no, transpose::no, 301, 200, 8},   {transpose::no, transpose::no, 150, 201, 160},
      {transpose::yes, transpose::no, 201, 150, 160}};
  for (const shape& s : shapes) {
    CAPTURE(s.m);
    CAPTURE(s.n);
    CAPTURE(s.k);
    const table a = s.ta == transpose::no ? random_table(s.m, s.k, 40) : random_table(s.k, s.m, 40);
    const table b = s.tb == transpose::no ? random_table(s.k, s.n, 41) : random_table(s.n, s.k, 41);
    const table c = random_table(s.m, s.n, 42);
    const table want = 2.0 * (applied<cpu_float>(s.ta, a) * applied<cpu_float>(s.tb, b)) + 0.5 * c;
    for (const int threads : {1, 2, 3}) {
      CAPTURE(threads);
      CHECK(gap(on_threads(threads, s.ta, a, s.tb, b, c), want) < tolerance<cpu_float>(s.k));
    }
  }
}

TEST_CASE("backend: elementwise results and sums over columns have the same bits on any threads") {
  const table tx = random_table(331, 203, 50);
  const table ta = random_table(331, 203, 51);
  const table rows = random_table(331, 1, 52);
  const table cols = random_table(203, 1, 53);
  const auto all = [&](int threads) {
    cpu_float be(threads);
    std::vector<table> results;
    for (const bool gaps : {false, true}) {
      block_in_frame<cpu_float> framed(be, tx);
      mat<cpu_float> whole = matrix(be, tx);
      const view_of<cpu_float> x = gaps ? framed.block() : view_of<cpu_float>(whole);
      mat<cpu_float> y = matrix(be, ta);
      mat<cpu_float> sums = matrix(be, rows);
      be.apply(of_any_value{}, x, y, matrix(be, ta));
      be.apply_indexed(add_index_times{}, x, y);
      be.scale_rows(matrix(be, rows), x);
      be.scale_cols(matrix(be, cols), x);
      be.add_to_cols(matrix(be, rows), x);
      be.add_row_sums(2, x, sums);
      be.add_row_dots(3, x, y, sums);
      mat<cpu_float> turned = be.zeros(203, 331);
      be.copy(transpose::yes, x, turned);
      be.copy(transpose::no, x, y);
      be.fill(4, x);
      for (const const_view_of<cpu_float> result :
           {const_view_of<cpu_float>(x), const_view_of<cpu_float>(y),
            const_view_of<cpu_float>(sums), const_view_of<cpu_float>(turned)}) {
        results.push_back(read<cpu_float>(be, result));
      }
      CHECK(framed.intact(be));
    }
    return results;
  };
  const std::vector<table> one = all(1);
  CHECK(same(one[0], table(331, 203, 4)));
  CHECK(same(one[3], transposed(one[1])));
  for (const int threads : {2, 3}) {
    const std::vector<table> several = all(threads);
    for (std::size_t i = 0; i < one.size(); ++i) {
      CAPTURE(threads);
      CAPTURE(i);
      CHECK(same(one[i], several[i]));
    }
  }
}

TEST_CASE("backend: threads are one or more, named, and shared by copies") {
  CHECK_THROWS_AS(cpu_float(0), invalid_argument);
  CHECK(cpu_float().threads() == 1);
  CHECK(cpu_float().describe().find("threads") == std::string::npos);
  const cpu_float two(2);
  CHECK(two.describe().find(", 2 threads") != std::string::npos);
  cpu_float copy = two;
  CHECK(copy.threads() == 2);
  mat<cpu_float> x = copy.zeros(1000, 1000);
  copy.apply(affine{1, 3}, x);
  CHECK(copy.dot(x, x) == 9e6F);
}
