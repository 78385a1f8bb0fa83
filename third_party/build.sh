#!/usr/bin/env bash
# Builds the native engine and the kernels beside it: build.sh BACKEND
#
# BACKEND is cpu, cuda or vulkan, or baseline for the program that worker bench compares
# with: the unpatched engine with its default flags. The products go to the user's
# cache folder, keyed by a hash of source, patches, flags and compiler, and
# third_party/build/BACKEND is made a link to them, so a second run or a second
# clone builds nothing.
#
# Environment:
#   ENGINE_SRC        a stable-diffusion.cpp checkout, with its ggml, in place of the pinned source
#   ENGINE_NATIVE     ON (default) tunes for this machine, OFF for an image that travels
#   ENGINE_JOBS       parallel compile jobs (default: number of processors)
#   ENGINE_CMAKE_ARGS further arguments for cmake
#   ENGINE_PREBUILT   folder with the products of another machine: nothing is built
#   CUDA_ARCHS        CUDA architectures (default: native)
#   CFLAGS, CXXFLAGS  for the compiler, as cmake takes them
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
backend=${1:-cpu}
native=${ENGINE_NATIVE:-ON}
jobs=${ENGINE_JOBS:-$(nproc)}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sdworker/engine

say() { printf 'engine: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

case $backend in
cpu | cuda | vulkan) patches=$here/patches ;;
baseline) patches=$here/baseline ;;
*) die "unknown backend '$backend', want cpu, cuda, vulkan or baseline" ;;
esac

# digest tells which patches an engine has, also one that was built elsewhere.
digest=$("$here/apply" "$patches")

# patched tells whether a source has the patches already.
patched() { [[ -n $1 && -f $1/patched && $(<"$1/patched") == "$digest" ]]; }

tools=(engine)
if [[ -z ${ENGINE_PREBUILT:-} ]]; then
	[[ $backend == cuda || $backend == vulkan ]] && tools+=("$backend")
	[[ -n ${ENGINE_SRC:-} ]] || tools+=(fetch)
	patched "${ENGINE_SRC:-}" || tools+=(patch)
fi
"$here/../scripts/prerequisites" ${tools[@]+"${tools[@]}"}

flags=(-DCMAKE_BUILD_TYPE=Release -DSD_BUILD_EXAMPLES=OFF -DSD_WEBP=OFF -DSD_WEBM=OFF)
if [[ $backend != baseline ]]; then
	flags+=(
		-DCMAKE_POSITION_INDEPENDENT_CODE=ON
		-DBUILD_SHARED_LIBS=OFF
		-DGGML_NATIVE="$native" -DGGML_LLAMAFILE=ON -DGGML_OPENMP=ON -DGGML_CCACHE=OFF
	)
fi
if [[ $backend == cuda ]]; then
	flags+=(
		-DSD_CUDA=ON -DGGML_CUDA_GRAPHS=ON -DGGML_CUDA_NCCL=OFF
		-DCMAKE_CUDA_ARCHITECTURES="${CUDA_ARCHS:-native}"
	)
fi
[[ $backend == vulkan ]] && flags+=(-DSD_VULKAN=ON)
read -ra more <<<"${ENGINE_CMAKE_ARGS:-}"
flags+=(${more[@]+"${more[@]}"})

# The worker's engine has the pinned ggml, the program for comparison the tree's own.
# Its ggml calls the kernels by this header.
own=own-ggml hooks=''
if [[ $backend != baseline ]]; then
	own='' hooks=$here/kernels/kernels.h
fi

# source_id names the source without fetching it.
source_id() {
	if [[ -n ${ENGINE_SRC:-} ]]; then
		(cd "$ENGINE_SRC" && find . -name .git -prune -o -type f -print0 |
			LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum)
	else
		"$here/fetch/pins" $own
	fi
}

if [[ -n ${ENGINE_SRC:-} ]]; then
	[[ -f $ENGINE_SRC/src/model_manager.h && -f $ENGINE_SRC/ggml/CMakeLists.txt ]] ||
		die "no stable-diffusion.cpp tree with its ggml folder in $ENGINE_SRC"
fi

machine() {
	[[ $native == ON ]] && ${CC:-cc} -march=native -Q --help=target 2>/dev/null
	${CC:-cc} --version
	${CXX:-c++} --version
	[[ $backend == cuda ]] && "${CUDACXX:-nvcc}" --version
	[[ $backend == vulkan ]] && glslc --version
	uname -sm
}

# cmake heeds these, too; nothing where they are not set.
compiler_flags=${CFLAGS:-}${CXXFLAGS:-}

# A number that changes with the layout of the products.
layout=1

key=$({
	echo "$layout"
	source_id
	echo "$digest"
	if [[ $backend == baseline ]]; then cat "$patches/baseline.cpp"; else cat "$hooks"; fi
	printf '%s\n' "${flags[@]}"
	machine || true
	printf '%s' "$compiler_flags"
} | sha256sum | cut -c1-16)
out=$cache/$backend-$key

# place makes third_party/build/NAME a link to products: place NAME FOLDER.
place() {
	mkdir -p "$here/build"
	ln -sfn "$2" "$here/build/.$1.$$" && mv -fT "$here/build/.$1.$$" "$here/build/$1"
}

# kernels compiles kernels/ by itself, which takes seconds, so that a change there
# compiles nothing of the engine. It prints the key of the products.
kernels() {
	local key folder temporary
	key=$({
		cat "$here"/kernels/*
		"${CXX:-c++}" --version
		uname -sm
		printf '%s' "$compiler_flags"
	} | sha256sum | cut -c1-16)
	folder=$cache/kernels-$key
	if [[ ! -f $folder/libkernels.a ]]; then
		say "compiling the kernels"
		mkdir -p "$cache"
		temporary=$(mktemp -d "$cache/tmp-kernels-XXXXXX")
		{ cmake -S "$here/kernels" -B "$temporary" -DCMAKE_BUILD_TYPE=Release -DKERNELS_TESTS=OFF &&
			cmake --build "$temporary" --parallel "$jobs"; } >"$temporary/log" 2>&1 || {
			tail -n 30 "$temporary/log" >&2
			die "compiling the kernels failed, see $temporary/log"
		}
		mkdir -p "$folder"
		mv -f "$temporary/libkernels.a" "$folder/libkernels.a"
		rm -rf "$temporary"
	fi
	place kernels "$folder"
	echo "$key"
}

# link points third_party/build/BACKEND at the products and tells Go about them:
# Go does not notice that a library outside a package changed, but it does notice
# a header inside.
link() {
	place "$backend" "$out"
	[[ $backend == baseline ]] && return
	local stamp=$here/../inference/sdcpp/stamp_$backend.h text
	text=$(printf '/* Written by third_party/build.sh, with kernels %s. */\n#define SDW_ENGINE_KEY "%s"\n#define SDW_ENGINE_PIN "%s"' "$(kernels)" "$key" "$(pin)")
	[[ -f $stamp && $(<"$stamp") == "$text" ]] || printf '%s\n' "$text" >"$stamp"
}

# pin names the source for people: the packages that Cargo.lock pins, unless another
# tree takes its place.
pin() {
	if [[ -z ${ENGINE_SRC:-} || $(cat "$ENGINE_SRC/pin" 2>/dev/null) == "$("$here/fetch/pins" $own)" ]]; then
		"$here/fetch/pins" $own | cut -d' ' -f1,2 | paste -sd, | sed 's/,/ and /'
	else
		echo "local source"
	fi
}

if [[ -n ${ENGINE_PREBUILT:-} ]]; then
	[[ -f $ENGINE_PREBUILT/complete ]] || die "$ENGINE_PREBUILT holds no complete engine"
	[[ ! -f $ENGINE_PREBUILT/patches || $(<"$ENGINE_PREBUILT/patches") == "$digest" ]] || die "$ENGINE_PREBUILT has other patches"
	out=$ENGINE_PREBUILT
	key=prebuilt-$(cat "$out"/lib/*.a | sha256sum | cut -c1-8)
	link
	say "$backend engine $key is ready"
	exit 0
fi

mkdir -p "$cache"
exec 9>"$cache/$backend-$key.lock"
if ! flock -n 9; then
	say "another build of the same engine is running, waiting for it"
	flock 9
fi
if [[ -f $out/complete ]]; then
	link
	say "$backend engine $key is ready"
	exit 0
fi

work=$cache/tmp-$backend-$key
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT

if [[ -n ${ENGINE_SRC:-} ]]; then
	say "1/4 copying $ENGINE_SRC"
	mkdir "$work/src"
	(cd "$ENGINE_SRC" && tar --exclude=.git -cf - .) | tar -xf - -C "$work/src"
else
	say "1/4 fetching $(pin), checking against fetch/Cargo.lock"
	"$here/fetch/fetch" "$work/src" $own ||
		die "fetching failed: check the network, or point ENGINE_SRC at a stable-diffusion.cpp checkout"
fi

say "2/4 applying $(find "$patches" -name '*.patch' | wc -l) patches"
"$here/apply" "$patches" "$work/src" || die "the patches do not fit this source"

[[ -z $hooks ]] || cp "$hooks" "$work/src/ggml/src/ggml-cpu/"

say "3/4 configuring ($backend)"
cmake -S "$work/src" -B "$work/build" "${flags[@]}" >"$work/cmake.log" 2>&1 || {
	tail -n 30 "$work/cmake.log" >&2
	die "cmake failed"
}

say "4/4 compiling with $jobs jobs; on 2 processors the CPU engine takes about 2 minutes"
if ! cmake --build "$work/build" --parallel "$jobs" >"$work/build.log" 2>&1; then
	grep -m5 -B2 -A8 -iE '(error|fatal):? ' "$work/build.log" >&2 || tail -n 30 "$work/build.log" >&2
	cp "$work/build.log" "$cache/failed-$backend.log"
	die "compiling failed, full log in $cache/failed-$backend.log"
fi

# Headers keep their layout, since the engine includes them from several roots.
new=$work/new
mkdir -p "$new/lib" "$new/include"
find "$work/build" -name '*.a' -exec cp {} "$new/lib/" \;
(cd "$work/src" && find src include ggml/include thirdparty -type f \( -name '*.h' -o -name '*.hpp' \) -print0 |
	tar --null -cf - -T -) | tar -xf - -C "$new/include"
if [[ $backend == baseline ]]; then
	"${CXX:-c++}" -std=c++17 -O2 -I"$work/src/include" "$here/baseline/baseline.cpp" -o "$new/baseline" \
		-Wl,--start-group "$new"/lib/*.a -Wl,--end-group -lgomp -lpthread -ldl -lm
fi
cp "$work/src/LICENSE" "$new/LICENSE.stable-diffusion.cpp"
[[ -f $work/src/ggml/LICENSE ]] && cp "$work/src/ggml/LICENSE" "$new/LICENSE.ggml"
printf '%s\n' "${flags[@]}" >"$new/flags"
echo "$digest" >"$new/patches"
touch "$new/complete"
rm -rf "$out"
mv -T "$new" "$out"
link
say "$backend engine $key is ready"
