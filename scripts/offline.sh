# Sourced by the commands beside it before anything is installed: takes --offline DIR out of their arguments. With it
# every pip that runs from here on finds its wheels in that folder alone; `scripts/fetch --into DIR` fills it.

take_offline() {
  local folder
  arguments=()
  while (($#)); do
    if [[ $1 != --offline && $1 != --offline=* ]]; then
      arguments+=("$1")
      shift
      continue
    fi
    folder=${1#--offline=}
    [[ $1 == --offline=* ]] || { folder=${2:-} && shift; }
    [[ -d $folder ]] || { echo "--offline: no folder '$folder'; scripts/fetch --into DIR makes one" >&2 && exit 2; }
    (($# == 0)) || shift
    unset PIP_INDEX_URL PIP_EXTRA_INDEX_URL
    folder=$(realpath -- "$folder")
    # As a URL: pip takes a blank for the end of a name.
    export PIP_NO_INDEX=1 PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS="file://${folder// /%20}"
  done
}

take_offline "$@"
set -- "${arguments[@]}"
