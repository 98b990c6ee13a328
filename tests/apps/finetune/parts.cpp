// The parts of preheat-finetune that a whole run does not show.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "apps/finetune/batches.hpp"
#include "apps/finetune/chat.hpp"
#include "apps/finetune/examples.hpp"
#include "apps/finetune/run_folder.hpp"

namespace fs = std::filesystem;
using namespace apps::finetune;

namespace {

std::string whole(const std::vector<chat_piece>& pieces) {
  std::string text;
  for (const chat_piece& p : pieces) {
    text += p.counts ? "[" + p.text + "]" : p.text;
  }
  return text;
}

example of_length(std::size_t n) {
  return {std::vector<preheat::index_t>(n, 1), std::vector<preheat::index_t>(n, 1)};
}

// A folder that is removed at the end.
struct scratch_folder {
  fs::path path = fs::temp_directory_path() / ("preheat-finetune-" + std::to_string(::getpid()) +
                                               "-" + std::to_string(count++));
  scratch_folder() { fs::create_directories(path); }
  ~scratch_folder() { fs::remove_all(path); }
  static inline int count = 0;
};

}  // namespace

TEST_CASE("finetune: conversations in the three forms, of which the answers count") {
  const std::vector<message> talk = {{"user", "Hi"}, {"assistant", " Hello "}};
  CHECK(whole(write_chat({chat_form::chatml, "", ""}, talk)) ==
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[ Hello <|im_end|>]\n");
  CHECK(whole(write_chat({chat_form::chatml, "", "Be kind"}, {talk[0]}, true)) ==
        "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n");
  CHECK(whole(write_chat({chat_form::llama3, "", ""}, talk)) ==
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n[Hello<|eot_id|>]");
  CHECK(whole(write_chat({chat_form::zephyr, "</s>", ""}, talk, true)) ==
        "<|user|>\nHi</s>\n<|assistant|>\n[ Hello </s>]\n<|assistant|>\n");
}

TEST_CASE(
    "finetune: a model's template is recognized by its form, or refused by what it does besides") {
  const std::string smollm =
      "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ "
      "'<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
      "Face<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n'}}";
  const chat_template chatml = recognize_chat_template(smollm, "", "a");
  CHECK(chatml.form == chat_form::chatml);
  CHECK(chatml.default_system ==
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
  CHECK(recognize_chat_template("'<|im_start|>system\\n' + message", "", "a").default_system == "");
  CHECK(recognize_chat_template("<|start_header_id|>", "", "a").form == chat_form::llama3);
  CHECK(recognize_chat_template("<|user|> <|assistant|>", "</s>", "a").form == chat_form::zephyr);
  CHECK_THROWS_WITH_AS(recognize_chat_template("<|im_start|> <think>", "", "a"),
                       doctest::Contains("thoughts"), preheat::io_error);
  CHECK_THROWS_WITH_AS(
      recognize_chat_template("<|start_header_id|>Cutting Knowledge Date", "", "a"),
      doctest::Contains("writes the date"), preheat::io_error);
  CHECK_THROWS_WITH_AS(recognize_chat_template("[INST]", "", "a"),
                       doctest::Contains("chatml, llama3 and zephyr"), preheat::io_error);
}

TEST_CASE("finetune: rows hold every example once and no more tokens than they may") {
  std::vector<example> examples;
  for (std::size_t i = 0; i < 300; ++i) {
    examples.push_back(of_length(1 + (i * 7) % 31));
  }
  for (const bool pack : {false, true}) {
    const auto rows = rows_of(examples, 32, pack);
    std::vector<int> seen(examples.size(), 0);
    for (const auto& row : rows) {
      std::size_t tokens = 0;
      for (const std::size_t i : row) {
        ++seen[i];
        tokens += examples[i].ids.size();
      }
      CHECK(tokens <= 32);
    }
    CHECK(seen == std::vector<int>(examples.size(), 1));
    CHECK((pack ? rows.size() < 180 : rows.size() == examples.size()));
  }
}

TEST_CASE("finetune: the parts of a batch together are the batch") {
  std::vector<example> examples;
  for (preheat::index_t i = 0; i < 10; ++i) {
    examples.push_back({{i, i}, {i, i}});
  }
  batches data(examples, rows_of(examples, 8, false), 4);
  CHECK(data.per_epoch() == 3);
  network::batch_type all, part;
  std::vector<preheat::index_t> joined;
  data.load(preheat::generator(3), 1, all);
  for (const preheat::index_t p : {0, 1}) {
    data.load_shard(preheat::generator(3), 1, {p, 2}, part);
    CHECK(part.divisor == 2);  // half of the four tokens that count
    joined.insert(joined.end(), part.ids.begin(), part.ids.end());
  }
  std::sort(joined.begin(), joined.end());
  std::sort(all.ids.begin(), all.ids.end());
  CHECK(joined == all.ids);
  CHECK(data.tokens() == 24);
  data.load_shard(preheat::generator(3), 2, {2, 3}, part);  // the last batch has two rows
  CHECK(part.divisor == std::numeric_limits<double>::infinity());
}

TEST_CASE("finetune: the classes of an encoder are the labels of its training examples") {
  const scratch_folder scratch;
  const fs::path file = scratch.path / "train.jsonl";
  const auto classes = [&](const std::string& lines) {
    std::ofstream(file) << lines;
    return find_classes(file);
  };
  const auto line = [](const std::string& label) {
    return R"({"text": "a", "label": )" + label + "}\n";
  };
  const class_list named = classes(line(R"("good")") + "\n" + line(R"("bad")") + line(R"("good")"));
  CHECK(named.names == std::vector<std::string>{"bad", "good"});
  CHECK((named.by_name && !named.by_number));
  const class_list numbered = classes(line("1") + line("0"));
  CHECK(numbered.names == std::vector<std::string>{"LABEL_0", "LABEL_1"});
  CHECK((numbered.by_number && !numbered.by_name));
  const auto refused = [&](const std::string& lines, const char* words) {
    CHECK_THROWS_WITH_AS(classes(lines), doctest::Contains(words), preheat::io_error);
  };
  refused(line(R"("good")") + line("1"), "line 2: the label 1 is a number, and those before it");
  refused(line("0") + line("2"), "there is a label 2, and no 1");
  refused(line("-1") + line("0"), "line 1: 0 <= label < 100000 (-1)");
  refused(line("0.5"), "line 1: \"label\" is a name or a whole number, not 0.5");
  refused(line("1") + "{\"text\": \"a\"}\n", "line 2: an encoder's example is an object with text");
  refused(line(R"("good")"), "all examples have the label good");
}

TEST_CASE("finetune: an unfinished run belongs to its settings, and to one process") {
  const scratch_folder scratch;
  const fs::path path = scratch.path / "a.run";
  const nlohmann::ordered_json settings = {{"rank", 4}, {"rate", 0.1}};
  preheat::training_state state;
  state.entries["step"] = {1, 1, {2}};
  {
    run_folder run(path, settings);
    CHECK(!run.last());
    CHECK_THROWS_WITH_AS(run_folder(path, settings), doctest::Contains("another process"),
                         preheat::io_error);
    run.begin_log(0);
    for (int step = 1; step <= 3; ++step) {
      run.log({{"phase", "training"}, {"step", step}});
    }
    run.keep(state);
  }
  CHECK_THROWS_WITH_AS(run_folder(path, {{"rank", 4}, {"rate", 0.2}}),
                       doctest::Contains("another \"rate\": 0.1, not 0.2"), preheat::io_error);
  {
    run_folder run(path, settings);
    REQUIRE(run.last());
    CHECK(run.last()->entries.at("step").values == std::vector<double>{2});
    run.begin_log(2);
    run.log({{"phase", "training"}, {"step", 3}});
    CHECK(run.log_text() ==
          "{\"phase\":\"training\",\"step\":1}\n{\"phase\":\"training\",\"step\":2}\n"
          "{\"phase\":\"training\",\"step\":3}\n");
    run.remove();
  }
  CHECK(!fs::exists(path));
  { run_folder nothing_kept(path, settings); }
  CHECK(!fs::exists(path));
}
