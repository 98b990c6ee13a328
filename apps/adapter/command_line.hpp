// The commands and options of preheat-adapter, for CLI11.
#pragma once
#include <filesystem>
#include <functional>
#include <vector>

#include <CLI/CLI.hpp>

namespace apps::adapter {

// What the command line asks for is left in `run` when it is parsed, and where it will write in `targets`.
void describe_commands(CLI::App& app, std::function<void()>& run,
                       std::vector<std::filesystem::path>& targets);

}  // namespace apps::adapter
