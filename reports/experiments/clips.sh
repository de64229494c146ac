#!/bin/sh
# The experiments on unlabelled clips: the train part's videos, each a frame and the sound around it, no classes.
#     sh reports/experiments/clips.sh ../shared/data
# Validation loss and accuracy are of held-out videos, by avol train itself. Runs go on where they were cut off.
set -e
data=$1
work=data/clips
videos=$(python3 - "$data" <<'PY'
import csv, sys
rows = csv.DictReader(open(f"{sys.argv[1]}/videos.csv"))
print(" ".join(f"{sys.argv[1]}/videos/{row['file']}" for row in rows if row["split"] == "train"))
PY
)
avol data prepare $videos --out $work --split 78:22:0 --frames-per-second 8

train() { # name, arguments
	name=$1
	shift
	avol train --data $work --out runs/experiments/$name --precision bfloat16 "$@"
	mkdir -p reports/experiments/results/$name
	cp runs/experiments/$name/log.jsonl reports/experiments/results/$name/
}

# 5e-4 is the rate of the report's code.
train clips-one-pair --recipe report --pairs-per-clip 1 --epochs 16 --learning-rate 5e-4
train clips-nine-pairs --recipe report --pairs-per-clip 9 --epochs 16 --learning-rate 5e-4

train clips-avol --recipe avol --pairs-per-clip 9 --epochs 16
