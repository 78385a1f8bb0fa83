#!/usr/bin/env bash
# CMake 4.1.0: find_package(Vulkan) takes another glslc than the shell does. Without VULKAN_SDK its hint
# "$ENV{VULKAN_SDK}/bin" is "/bin", and hints come before PATH: the system's compiler is taken and a newer one
# that is first on PATH is not, without a word. With VULKAN_SDK= set to any other folder PATH counts again.
#
# Expected: /bin/glslc is looked at first although PATH begins with a folder that has one.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check cmake==4.1.0
mkdir "$dir/first" "$dir/project"
printf '#!/bin/sh\n' >"$dir/first/glslc"
chmod +x "$dir/first/glslc"
printf 'cmake_minimum_required(VERSION 3.25)\nproject(which NONE)\nfind_package(Vulkan QUIET)\n' >"$dir/project/CMakeLists.txt"
export PATH=$dir/first:$PATH

# looks prints the first place where CMake looks for glslc.
looks() {
	rm -rf "$dir/build"
	"$dir/venv/bin/cmake" --debug-find-var=Vulkan_GLSLC_EXECUTABLE -S "$dir/project" -B "$dir/build" 2>&1 |
		sed -n 's|^ *\(/[^ ]*/glslc\)$|\1|p' | sed -n 1p
}

"$dir/venv/bin/cmake" --version | sed -n 1p
echo "the shell's glslc: $(command -v glslc | sed "s|$dir|DIR|")"
without=$(unset VULKAN_SDK && looks)
with=$(VULKAN_SDK=$dir/nothing looks)
echo "CMake's first place without VULKAN_SDK: ${without/#$dir/DIR}"
echo "CMake's first place with VULKAN_SDK set to a folder without one: ${with/#$dir/DIR}"
[[ $without == /bin/glslc && $with != /bin/glslc ]] || { echo "the behaviour has changed"; exit 1; }
