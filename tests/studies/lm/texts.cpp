// WordNet's files, quotations, and how they are split and encoded.
#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <preheat/cpu/backend.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "studies/common/text_lengths.hpp"
#include "studies/lm/dictionary.hpp"
#include "studies/lm/examples.hpp"
#include "studies/lm/model.hpp"
#include "studies/lm/quotations.hpp"
#include "studies/lm/wordnet.hpp"
#include "support/scratch.hpp"

namespace {

using preheat::index_t;
using studies::lm::definition;
using studies::lm::example;

// A WordNet of a few synsets.
void write_wordnet(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  scratch::write_file(folder / "data.noun",
                      "  1 a line of the licence\n"
                      "00000010 03 n 02 bank 0 Bank_building 0 001 @ 00000001 n 0000 | a building; "
                      "\"he sat in the bank\"; \"she too\"  \n"
                      "00000020 03 n 01 bank 1 000 | sloping land  \n"
                      "00000030 03 n 02 bank 2 riverside 0 000 | land at a river; wet land; "
                      "\"a green riverside\"  \n"
                      "00000040 03 n 01 Rose 0 000 | \"only an example\"  \n");
  scratch::write_file(folder / "index.noun",
                      "  1 a line of the licence\n"
                      "bank n 3 1 @ 3 2 00000010 00000020 00000030  \n"
                      "bank_building n 1 0 1 0 00000010  \n"
                      "riverside n 1 0 1 0 00000030  \n"
                      "rose n 1 0 1 0 00000040  \n");
  scratch::write_file(folder / "data.verb",
                      "00000010 41 v 01 bank 0 000 01 + 02 00 | do business  \n"
                      "00000050 41 v 01 Run 0 000 01 + 02 00 | move fast  \n");
  scratch::write_file(folder / "index.verb", "bank v 1 0 1 0 00000010\nrun v 1 0 1 0 00000050\n");
  scratch::write_file(folder / "data.adj", "00000060 00 a 01 able(p) 0 000 | having skill  \n");
  scratch::write_file(folder / "index.adj", "able a 1 0 1 0 00000060\n");
  scratch::write_file(folder / "data.adv", "");
  scratch::write_file(folder / "index.adv", "");
}

TEST_CASE("lm: one definition a synset, by a word of which it is the first sense") {
  const scratch::temporary_directory folder;
  write_wordnet(folder.path());
  std::vector<std::string> found;
  for (const definition& d : studies::lm::read_definitions(folder.path())) {
    found.push_back(d.word + ": " + d.gloss);
  }
  CHECK(found ==
        std::vector<std::string>{"bank: a building",  // not "sloping land", the second sense
                                 "riverside: land at a river; wet land", "Run: move fast",
                                 "able: having skill"});  // and the verb "bank" is taken
}

TEST_CASE("lm: what is wrong with WordNet's files is said") {
  const scratch::temporary_directory folder;
  write_wordnet(folder.path());
  const auto refused = [&](const std::string& file, const std::string& text,
                           const std::string& problem) {
    const std::string before = scratch::read_file(folder / file);
    scratch::write_file(folder / file, text);
    std::string error;
    try {
      studies::lm::read_definitions(folder.path());
    } catch (const std::runtime_error& thrown) {
      error = thrown.what();
    }
    CAPTURE(error);
    CHECK(error.find((folder / file).string() + ": line 1: " + problem) == 0);
    scratch::write_file(folder / file, before);
  };
  refused("data.noun", "00000010 03 n 01 bank 0 000 no gloss\n", "a synset expected");
  refused("data.noun", "00000010 03 n zz bank 0 000 | gloss\n", "a synset expected");
  refused("data.noun", "00000010 03 n ff x 0 | gloss\n", "fewer words than it says");
  refused("index.verb", "bank v 1 9999999999 1 0 00000010\n", "a word, its counts");
  std::filesystem::remove(folder / "data.adv");
  CHECK_THROWS_WITH_AS(studies::lm::read_definitions(folder.path()),
                       ((folder / "data.adv").string() + ": cannot be opened").c_str(),
                       std::runtime_error);
}

TEST_CASE("lm: dictionaries of dictd: a word's first translation, or its first sense") {
  const scratch::temporary_directory folder;
  const auto read = [&](const std::string& index, const std::string& articles, auto definition_of) {
    scratch::write_file(folder / "d.index", index);
    scratch::write_file(folder / "d.dict", articles);
    std::vector<std::string> found;
    for (const definition& d : studies::lm::read_dictionary(folder / "d", definition_of)) {
      found.push_back(d.word + ": " + d.gloss);
    }
    return found;
  };
  using studies::lm::first_sense;
  using studies::lm::first_translation;
  const std::string hunter = "the hunter /ˈhʌntə/ <n>\n [Br.] Jäger (alt) <masc> [hunt.], Orion\n";
  const std::string bow = "bow /bəʊ/\n   Synonym: {bend}\n";
  const std::string again = "Hunters /h/\njäger <pl>\n";
  // 69, 31 and 24 bytes: BF, f and Y.
  const std::string index =
      "00-database-info\tA\tI\nbow\tBF\tf\nthehunter\tA\tBF\nhunters\tBk\tY\n";
  CHECK(read(index, hunter + bow + again, first_translation) ==
        std::vector<std::string>{"the hunter: Jäger"});

  CHECK(first_sense(
            "Lark \\Lark\\ (l[aum]rk), n. [Perh fr. AS.\n   l[=a]c play.]\n   A {frolic}; a jolly\n"
            "   time. [Colloq.] --Dickens.\n   [1913 Webster]\n\n   2. More\n")
            .gloss == "A frolic; a jolly time.");
  CHECK(first_sense("Lark \\Lark\\, n. (Zool.)\n   1. (Mus.) A bird.\n   2. A song.\n").word ==
        "Lark");
  CHECK(first_sense("Lark \\Lark\\, n.\n   1. (Mus.) A bird.\n   2. A song.\n").gloss == "A bird.");
  CHECK(first_sense("Lark \\Lark\\, n.\n   See {Bird}.\n").gloss.empty());
  CHECK(first_sense("").word.empty());

  for (const std::string line : {"bow", "bow\tA", "bow\tA\t*", "bow\tA\tBJ", "bow\tBJ\tA",
                                 "bow\tAAAAAAAAAAA\tB", "bow\t\tB", "bow\t//////////\tB"}) {
    CAPTURE(line);
    CHECK_THROWS_AS(read(line + "\n", hunter, first_translation), std::runtime_error);
  }
  CHECK_THROWS_AS(read("", hunter, first_translation), std::runtime_error);
}

TEST_CASE("lm: quotations without their authors, on one line each") {
  const scratch::temporary_directory folder;
  scratch::write_file(
      folder / "texts",
      "One  two\n\tthree.\n\t\t-- Somebody,\n  a book\n%\n%\nA -- dash\n%\nLast one");
  CHECK(studies::lm::read_quotations(folder / "texts") ==
        std::vector<std::string>{"One two three.", "A", "Last one"});
  scratch::write_file(folder / "none", "%\n");
  CHECK_THROWS_AS(studies::lm::read_quotations(folder / "none"), std::runtime_error);
  CHECK_THROWS_AS(studies::lm::read_quotations(folder / "missing"), std::runtime_error);
}

// Every byte is a token, and nothing is merged.
studies::lm::tokenizer bytes_alone() {
  preheat::text::byte_pair_model model;
  for (int byte = 0; byte < 256; ++byte) {
    model.tokens.push_back(preheat::text::letter_of_byte(static_cast<unsigned char>(byte)));
  }
  return studies::lm::tokenizer(model);
}

TEST_CASE("lm: the loss is that of the gloss") {
  const auto tokenizer = bytes_alone();
  const example e = studies::lm::encode_definition(tokenizer, {"ox", "a cow"});
  CHECK(tokenizer.decode(e.ids) == "ox: a cow\n");
  CHECK(tokenizer.decode(e.question()) == "ox:");
  CHECK(e.counted() == 7);
  const example quotation{.ids = {1, 2, 3}, .prompt = 0};
  CHECK(quotation.counted() == 2);
  const std::vector<example> two = {e, quotation};
  const auto batch = studies::lm::batch_of<preheat::cpu<float>>(two);
  CHECK(batch.lengths == std::vector<index_t>{10, 3});
  CHECK(batch.ids.size() == 13);
  CHECK(std::count(batch.labels.begin(), batch.labels.end(), preheat::nn::not_counted) == 3);
  CHECK(batch.labels[2] == preheat::nn::not_counted);
  CHECK(batch.labels[3] == ' ');
  CHECK(batch.labels[10] == 1);
  CHECK(studies::lm::counted_in(two) == 9);
  CHECK(studies::lm::tokens_in(two) == 13);
}

TEST_CASE("lm: parts have no word in common, and long texts are in none") {
  const auto tokenizer = bytes_alone();
  std::vector<definition> definitions;
  for (int i = 0; i < 200; ++i) {
    definitions.push_back(
        {"word" + std::to_string(i), i % 10 == 0 ? std::string(70, 'x') : "gloss"});
  }
  const std::vector<std::string> quotations(30, "a text of more than 16 tokens");
  const studies::lm::part_sizes sizes{.validation = 20, .test = 30, .drift = 10};
  const auto set = studies::lm::make_data(tokenizer, definitions, quotations, sizes);
  CHECK(set.left_out == 20);
  CHECK(set.test.size() == 30);
  CHECK(set.validation.size() == 20);
  CHECK(set.train.size() == 130);
  CHECK(set.drift.size() == 10);
  std::set<std::string> words;
  for (const auto* part : {&set.train, &set.validation, &set.test}) {
    for (const example& e : *part) {
      CHECK(words.insert(tokenizer.decode(e.question())).second);
      CHECK(e.ids.size() <= studies::lm::longest_text);
    }
  }
  CHECK(words.size() == 180);
  for (std::size_t i = 0; i < set.test.size(); ++i) {
    CHECK(set.asked[i].word + ":" == tokenizer.decode(set.test[i].question()));
  }

  // The same again, and other numbers for other texts.
  CHECK(studies::lm::make_data(tokenizer, definitions, quotations, sizes).checksum == set.checksum);
  definitions[3].gloss += "x";
  CHECK(studies::lm::make_data(tokenizer, definitions, quotations, sizes).checksum != set.checksum);
  CHECK_THROWS_AS(studies::lm::make_data(tokenizer, definitions, {}, sizes), std::runtime_error);
  definitions.resize(40);
  CHECK_THROWS_AS(studies::lm::make_data(tokenizer, definitions, quotations, sizes),
                  std::runtime_error);
}

TEST_CASE("lm: batches are epochs of all examples, and count their tokens") {
  std::vector<example> examples;
  for (index_t i = 0; i < 10; ++i) {
    examples.push_back({.ids = {i, 100 + i, 200}, .prompt = 1});
  }
  studies::lm::definition_batches<preheat::cpu<float>> batches(examples, 4);
  preheat::nn::causal_batch<preheat::cpu<float>> batch;
  std::multiset<index_t> seen;
  for (index_t step = 0; step < 3; ++step) {
    batches.load(preheat::generator(1), step, batch);
    CHECK(batch.sequences() == (step < 2 ? 4 : 2));
    for (std::size_t k = 0; k < batch.ids.size(); k += 3) {
      seen.insert(batch.ids[k]);
    }
  }
  CHECK(std::set<index_t>(seen.begin(), seen.end()).size() == 10);
  CHECK(seen.size() == 10);
  CHECK(batches.tokens() == 30);
  const std::vector<index_t> last = batch.ids;
  batches.load(preheat::generator(1), 3, batch);
  batches.load(preheat::generator(1), 2, batch);
  CHECK(batch.ids == last);
}

TEST_CASE("lm: texts made equally long have the losses that they had") {
  const auto model =
      studies::lm::read_model(PREHEAT_GOLDEN_DIR_DEFAULT "/gguf/model/model-f32.gguf");
  studies::lm::network net = model->start();
  const std::vector<example> texts = {{.ids = {5, 9, 2, 7, 11}, .prompt = 2},
                                      {.ids = {3, 1}, .prompt = 0},
                                      {.ids = {8, 4, 6, 10, 12, 2, 1}, .prompt = 3}};
  const auto batch = studies::lm::batch_of<studies::lm::backend>(texts);
  auto equal = batch;
  studies::lm::make_equally_long(equal);
  CHECK(equal.lengths == std::vector<index_t>{7, 7, 7});
  CHECK(equal.tokens() == 21);
  preheat::base_operator<studies::lm::backend> linear(net);
  const double loss = net.loss(batch, linear);
  CHECK(net.loss(equal, linear) == doctest::Approx(loss).epsilon(1e-5));
  auto rounded = batch;
  studies::common::round_lengths(rounded, 3, 8);
  CHECK(rounded.lengths == std::vector<index_t>{3, 6, 8});
  CHECK(net.loss(rounded, linear) == doctest::Approx(loss).epsilon(1e-5));
  CHECK(studies::common::rounded_length(30, 16, 20) == 30);
  const auto score = net.evaluate(texts, linear);
  CHECK(score.loss == doctest::Approx(loss).epsilon(1e-5));
  CHECK(score.accuracy >= 0);
  CHECK(score.accuracy <= 1);

  studies::lm::definition_batches<studies::lm::backend> batches(texts, 3);
  studies::lm::batch loaded;
  batches.make_equally_long(true);
  batches.load(preheat::generator(1), 0, loaded);
  CHECK(loaded.lengths == equal.lengths);
  CHECK(batches.tokens() == batch.tokens());
}

}  // namespace
