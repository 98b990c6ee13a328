// A folder with the data of a program that compares methods, in which the tests of these programs run it.
#pragma once
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "studies/common/results.hpp"
#include "support/scratch.hpp"

namespace study_program {

class program_folder {
 public:
  std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }

  // Runs the program on data/ with these arguments more; results go to the folder `out`.
  template <class Parse, class RunAll>
  int run(const std::string& program, const Parse& parse, const RunAll& run_all,
          const std::string& out, const std::string& arguments) const {
    std::vector<std::string> all = {program, "--data", (folder_ / "data").string(), "--out",
                                    (folder_ / out).string()};
    std::istringstream split(arguments);
    for (std::string one; split >> one;) {
      all.push_back(one);
    }
    std::vector<const char*> pointers;
    for (const std::string& one : all) {
      pointers.push_back(one.c_str());
    }
    const auto parsed = parse(int(pointers.size()), pointers.data());
    REQUIRE(parsed.wanted.has_value());
    return run_all(*parsed.wanted, {});
  }

  // Its table, without so many of the last columns, which say what runs cost.
  std::string table(const std::string& out, int without) const {
    std::istringstream lines(scratch::read_file(folder_ / out / "summary.csv"));
    std::string all;
    for (std::string line; std::getline(lines, line);) {
      for (int i = 0; i < without; ++i) {
        line.resize(line.rfind(','));
      }
      all += line + "\n";
    }
    return all;
  }
  std::vector<studies::common::run_record> runs(const std::string& out) const {
    return studies::common::read_runs(folder_ / out / "runs.jsonl").runs;
  }

 private:
  scratch::temporary_directory folder_;
};

// The command gives the same table with any number of threads and after an interruption, when `kept` of
// its runs are there and a line that was cut off, as after the power failed; the second time nothing
// is left to do. Its results and its report are then in the folder `whole`.
template <class Folder>
void check_resumes(const Folder& folder, const std::string& command, int kept) {
  CHECK(folder.run("whole", command + "--threads 1") == 0);
  const std::string table = folder.table("whole");
  const std::string lines = scratch::read_file(folder / "whole/runs.jsonl");
  std::size_t end = 0;
  for (int i = 0; i < kept; ++i) {
    end = lines.find('\n', end) + 1;
  }
  std::filesystem::create_directories(folder / "part");
  std::ofstream(folder / "part/runs.jsonl") << lines.substr(0, end + 100);
  CHECK(folder.run("part", command + "--threads 2 --no-report") == 0);
  CHECK(folder.table("part") == table);
  CHECK(folder.runs("part").size() == folder.runs("whole").size());

  CHECK(folder.run("whole", command + "--no-report") == 0);
  CHECK(scratch::read_file(folder / "whole/runs.jsonl") == lines);
}

// The page has this row, and everything it shows is inside.
inline void check_page(const std::filesystem::path& file, const std::string& row) {
  const std::string page = scratch::read_file(file);
  CHECK(page.find(row) != std::string::npos);
  CHECK(page.find("<script") == std::string::npos);
  CHECK(page.find("src=") == std::string::npos);
}

}  // namespace study_program
