// The data of the comparison on text: its reader, its split, its batches.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <preheat/cpu/backend.hpp>

#include "studies/text/encoded.hpp"
#include "support/scratch.hpp"

namespace {

using namespace studies::text;
using scratch::temporary_directory;

std::string problem_of(const std::string& contents) {
  const temporary_directory folder;
  std::ofstream(folder / "rated.txt") << contents;
  try {
    read_sentences(folder / "rated.txt");
  } catch (const std::runtime_error& error) {
    const std::string text = error.what();
    return text.substr(text.find("rated.txt"));
  }
  return {};
}

TEST_CASE("text: lines of an id, a rating and a text") {
  const temporary_directory folder;
  std::ofstream(folder / "rated.txt") << "1_1\t-0.9\tno picture.\r\n"
                                         "1_2\t0.4\tplays\r\n"
                                         "2_1\t3\t\"great\", it is";
  const std::vector<sentence> all = read_sentences(folder / "rated.txt");
  REQUIRE(all.size() == 3);
  CHECK(all[0].id == "1_1");
  CHECK(all[0].rating == -0.9);
  CHECK(all[0].text == "no picture.");
  CHECK(all[0].label() == 0);
  CHECK(all[2].text == "\"great\", it is");
  CHECK(all[2].label() == 1);
  CHECK(source_of(all[0]) == "1");

  const std::vector<sentence> clear = with_clear_sign(all);
  REQUIRE(clear.size() == 2);
  CHECK(clear[1].id == "2_1");
  CHECK(checksum(all) != checksum(clear));
}

TEST_CASE("text: a line that is wrong is named, and why") {
  CHECK(problem_of("1\t0.5\n") ==
        "rated.txt: line 1: three fields separated by tabs expected: id, rating, text");
  CHECK(problem_of("1\t1\ta\n2\t1\ta\tb\n") ==
        "rated.txt: line 2: three fields separated by tabs expected: id, rating, text");
  for (const std::string rating : {"good", "", "4.01", "-5", "nan", "inf", "1x", " 1"}) {
    CHECK(problem_of("1\t" + rating + "\ta\n") ==
          "rated.txt: line 1: a rating from -4 to 4 expected (" + rating + ")");
  }
  CHECK(problem_of("\t1\ta\n") == "rated.txt: line 1: the id is empty");
  CHECK(problem_of("1\t1\t\n") == "rated.txt: line 1: the text is empty");
  CHECK(problem_of("1\t1\ta\n\n") ==
        "rated.txt: line 2: three fields separated by tabs expected: id, rating, text");
  CHECK(problem_of("1\t1\ta\n1\t1\tb\n") == "rated.txt: line 2: the id 1 is there twice");
  CHECK(problem_of("") == "rated.txt: the file is empty");
  CHECK_THROWS_AS(read_sentences("no/such/file"), std::runtime_error);
}

// ------------------------------------------------------------------------------------------ split

// Sentences with a share of positive ones, in reviews of changing length; without reviews, each
// stands alone.
std::vector<sentence> made_up(int count, bool in_reviews) {
  std::vector<sentence> all;
  preheat::generator gen(7);
  for (int review = 0; int(all.size()) < count; ++review) {
    const bool good = gen.uniform() < 0.6;
    const int length = in_reviews ? 1 + int(gen.below(20)) : 1;
    for (int k = 0; k < length && int(all.size()) < count; ++k) {
      const bool positive = gen.uniform() < (good ? 0.9 : 0.2);
      all.push_back({.id = std::to_string(review) + (in_reviews ? "_" + std::to_string(k) : ""),
                     .rating = positive ? 1.0 : -1.0,
                     .text = "a"});
    }
  }
  return all;
}

double positive_share(const std::vector<sentence>& all, const std::vector<std::size_t>& part) {
  const auto count =
      std::count_if(part.begin(), part.end(), [&](std::size_t i) { return all[i].label() == 1; });
  return double(count) / double(part.size());
}

TEST_CASE("text: a split uses every sentence once, and no source has sentences in two parts") {
  for (const bool in_reviews : {false, true}) {
    CAPTURE(in_reviews);
    const std::vector<sentence> all = made_up(2000, in_reviews);
    const studies::common::split parts = split_by_source(all, 300, 500);
    const std::vector<const std::vector<std::size_t>*> three = {&parts.train, &parts.validation,
                                                                &parts.test};
    std::vector<std::size_t> together;
    std::vector<std::set<std::string_view>> sources;
    for (const auto* const part : three) {
      together.insert(together.end(), part->begin(), part->end());
      auto& of_part = sources.emplace_back();
      for (const std::size_t i : *part) {
        of_part.insert(source_of(all[i]));
      }
      // Reviews are of both classes, so the shares agree as well as reviews allow.
      CHECK(positive_share(all, *part) ==
            doctest::Approx(positive_share(all, parts.train)).epsilon(in_reviews ? 0.12 : 0.01));
    }
    std::sort(together.begin(), together.end());
    for (std::size_t i = 0; i < all.size(); ++i) {
      REQUIRE(together[i] == i);
    }
    for (std::size_t a = 0; a < 3; ++a) {
      for (std::size_t b = a + 1; b < 3; ++b) {
        for (const std::string_view source : sources[a]) {
          REQUIRE_FALSE(sources[b].contains(source));
        }
      }
    }
    const double slack = in_reviews ? 20 : 0;  // half a review at either end
    CHECK(std::abs(double(parts.validation.size()) - 300) <= slack);
    CHECK(std::abs(double(parts.test.size()) - 500) <= slack);
  }
}

TEST_CASE("text: a split is the same again, and another with another seed") {
  const std::vector<sentence> all = made_up(500, true);
  const studies::common::split once = split_by_source(all, 50, 100);
  const studies::common::split again = split_by_source(all, 50, 100);
  CHECK(once.train == again.train);
  CHECK(once.test == again.test);
  CHECK(once.test != split_by_source(all, 50, 100, 1).test);
  CHECK_THROWS_AS(split_by_source(all, 250, 250), std::invalid_argument);
}

// ---------------------------------------------------------------------------------------- batches

using backend = preheat::cpu<float>;
using batch = preheat::nn::token_batch<backend>;

std::vector<example> numbered(int count) {
  std::vector<example> all;
  for (int i = 0; i < count; ++i) {
    all.push_back({std::vector<preheat::index_t>(std::size_t(1 + i % 3), i), i % 2});
  }
  return all;
}

TEST_CASE("text: a batch is a function of stream and step, and an epoch has every sentence once") {
  backend be;
  const std::vector<example> all = numbered(10);
  sentence_batches<backend> batches(be, all, 4);
  CHECK(batches.per_epoch() == 3);
  const preheat::generator stream(3);

  std::vector<batch> in_order(6);
  for (int step = 0; step < 6; ++step) {
    batches.load(stream, step, in_order[step]);
  }
  sentence_batches<backend> others(be, all, 4);
  for (int step = 5; step >= 0; --step) {
    batch b;
    others.load(stream, step, b);
    CHECK(b.ids == in_order[step].ids);
    CHECK(b.lengths == in_order[step].lengths);
  }
  CHECK(in_order[0].ids != in_order[3].ids);  // another epoch
  batch other_stream;
  others.load(preheat::generator(4), 0, other_stream);
  CHECK(other_stream.ids != in_order[0].ids);

  for (const int epoch : {0, 3}) {
    std::multiset<preheat::index_t> seen;
    for (int step = epoch; step < epoch + 3; ++step) {
      const batch& b = in_order[step];
      CHECK(b.sequences() == (step == epoch + 2 ? 2 : 4));
      preheat::nn::require_consistent(b);
      preheat::index_t first = 0;
      const std::vector<float> labels = be.download(b.target);
      for (std::size_t j = 0; j < b.lengths.size(); ++j) {
        const preheat::index_t number = b.ids[first];
        seen.insert(number);
        CHECK(b.lengths[j] == 1 + number % 3);
        CHECK(labels[j] == float(number % 2));
        first += b.lengths[j];
      }
    }
    CHECK(seen.size() == 10);
    CHECK(std::set(seen.begin(), seen.end()).size() == 10);
  }
}

TEST_CASE("text: consecutive examples as a batch; what no batch can be made of") {
  backend be;
  const std::vector<example> all = numbered(5);
  const batch b = batch_of(be, std::span(all).subspan(1, 2));
  CHECK(b.ids == std::vector<preheat::index_t>{1, 1, 2, 2, 2});
  CHECK(b.lengths == std::vector<preheat::index_t>{2, 3});
  CHECK_THROWS_AS(sentence_batches<backend>(be, {}, 4), preheat::invalid_argument);
  CHECK_THROWS_AS(sentence_batches<backend>(be, all, 0), preheat::invalid_argument);
}

}  // namespace
