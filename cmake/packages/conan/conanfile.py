"""conan create cmake/packages/conan: the installed tree of the headers, with our own CMake package.

-o "preheat/*:system_eigen=True" takes the Eigen of the system instead of Conan's."""
import os
import re

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load


class Preheat(ConanFile):
    name = "preheat"
    license = "MIT"
    description = "Initialization, parameterization and optimization of LoRA adapters: a header-only C++20 library"
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"system_eigen": [True, False]}
    default_options = {"system_eigen": False}

    @property
    def _tree(self):
        return os.path.join(self.recipe_folder, "..", "..", "..")

    def set_version(self):
        text = load(self, os.path.join(self._tree, "include", "preheat", "version.hpp"))
        self.version = ".".join(re.findall(r"#define PREHEAT_VERSION_\w+ (\d+)", text))

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "*.pc.in", "cmake/*.cmake", "cmake/*.in", "include/*"):
            copy(self, pattern, self._tree, self.export_sources_folder)

    def requirements(self):
        if not self.options.system_eigen:
            self.requires("eigen/3.4.0", transitive_headers=True)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        for part in ("TESTS", "BENCH", "APPS", "STUDIES", "EXAMPLES"):
            toolchain.cache_variables[f"PREHEAT_{part}"] = False
        for part in ("BLAS", "CUDA", "MPI"):
            toolchain.cache_variables[f"PREHEAT_{part}"] = "off"
        toolchain.generate()

    def package(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))

    def package_id(self):
        self.info.clear()

    def package_info(self):
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = ["share/cmake/preheat"]
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
