BEGIN TRANSACTION;
CREATE TABLE calibrations (
	id INTEGER NOT NULL, 
	made_at VARCHAR NOT NULL, 
	machine VARCHAR NOT NULL, 
	protocol INTEGER NOT NULL, 
	recordings JSON NOT NULL, 
	rates JSON, 
	PRIMARY KEY (id)
);
CREATE TABLE info (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "info" VALUES('schema','7');
CREATE TABLE results (
	id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	workload VARCHAR NOT NULL, 
	framework VARCHAR NOT NULL, 
	variant VARCHAR NOT NULL, 
	device VARCHAR NOT NULL, 
	threads INTEGER NOT NULL, 
	mini_batch INTEGER NOT NULL, 
	precision VARCHAR NOT NULL, 
	mode VARCHAR NOT NULL, 
	status VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	proof JSON, 
	environment JSON NOT NULL, 
	command VARCHAR NOT NULL, 
	limits JSON NOT NULL, 
	log JSON NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (run, workload, framework, variant, device, threads, mini_batch, precision, mode), 
	FOREIGN KEY(run) REFERENCES runs (id)
);
INSERT INTO "results" VALUES(1,1,'fcn-5-tiny','null','default','cpu',1,8,'float32','train','ok','','{"equal": true, "reason": "", "tiny": {"error": 5.396480603276478e-06, "where": "dense1.weight after step 1", "share_of_bound": 0.009989400469567172}, "threads": 1, "full_size": {"error": 2.853878318698663e-07, "where": "dense1.weight after step 1", "share_of_bound": 0.029925083119077694}}','{"digest": "4e3c2c641191", "build": "PyPI wheel", "packages": {"numpy": "2.4.6"}, "python_version": "3.11.7", "variables": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMEXPR_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "NPROC": "1", "PJRT_NPROC": "1", "PYTHONNOUSERSITE": "1", "CUDA_VISIBLE_DEVICES": ""}}','env -i ${HOME+HOME="$HOME"} ${PATH+PATH="$PATH"} ${USER+USER="$USER"} ${LD_LIBRARY_PATH+LD_LIBRARY_PATH="$LD_LIBRARY_PATH"} CUDA_VISIBLE_DEVICES= MKL_NUM_THREADS=1 NPROC=1 NUMEXPR_NUM_THREADS=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PJRT_NPROC=1 PYTHONNOUSERSITE=1 TF_NUM_INTEROP_THREADS=1 TF_NUM_INTRAOP_THREADS=1 VECLIB_MAXIMUM_THREADS=1 /home/me/.cache/stepbench/environments/null-4e3c2c641191/venv/bin/python /home/me/stepbench/harness/worker.py --steps 10 ''{"do": "build", "cell": {"workload": "fcn-5-tiny", "framework": "null", "variant": "default", "device": "cpu", "threads": 1, "mini_batch": 8, "precision": "float32", "mode": "train"}, "cpus": [0], "memory_limit": 24875835392, "arrays": "/home/me/.cache/stepbench/arrays", "workloads": "/home/me/stepbench/workloads", "frameworks": "/home/me/stepbench/frameworks", "framework_file": "/home/me/stepbench/frameworks/null.py", "workload_file": "/home/me/stepbench/workloads/fcn5.py"}''','{"flops_per_second": 101713309712.42726, "bytes_per_second": 26074676402.063625}','[]');
CREATE TABLE rounds (
	id INTEGER NOT NULL, 
	result INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	part INTEGER NOT NULL, 
	record JSON NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (result, number, part), 
	FOREIGN KEY(result) REFERENCES results (id)
);
INSERT INTO "rounds" VALUES(1,1,1,0,'{"number": 1, "part": 0, "started_at": "2026-11-27T10:29:07+00:00", "cpus": [0], "load_seconds": 0.06908188499994594, "build_seconds": 0.00014550600008078618, "first_step_seconds": 0.020009224999967046, "check": {"error": 2.853878318698663e-07, "where": "dense1.weight after step 1", "share_of_bound": 0.029925083119077694}, "peak_memory_bytes": 38703104, "turns": [{"lap": 0, "place": 0, "settling_seconds": 0.020010877000004257, "seconds": [0.020007781999993313], "last_step": 3, "loss": 2.495965003967285, "wall_seconds": 0.020012410000049385, "cpu_seconds": 0.020018847999999978, "ready_seconds": 0.020101499999999994, "looked_seconds": 0.020296639999969557, "late_seconds": 8.341999887306883e-06, "major_faults": 0, "minor_faults": 0, "involuntary_switches": 0, "machine": {"seconds": 0.021642081999971197, "steal_share": 0.0, "others_share": 0.0, "cpu_pressure": 0.0003234439274418969, "memory_pressure": 0.0, "io_pressure": 0.0, "throttled_seconds": 0.0, "frequency_hertz": null, "temperature_celsius": null}}, {"lap": 1, "place": 0, "settling_seconds": 0.02000749200010432, "seconds": [0.02000869399989824, 0.020016354999938812], "last_step": 3, "loss": 2.495965003967285, "wall_seconds": 0.04003382199994121, "cpu_seconds": 0.040027381, "ready_seconds": 0.04009595299999999, "looked_seconds": 0.04031321599995863, "late_seconds": 5.747999921368319e-06, "major_faults": 0, "minor_faults": 0, "involuntary_switches": 0, "machine": {"seconds": 0.041663943999992625, "steal_share": 0.0, "others_share": 0.0, "cpu_pressure": 0.000264017251948285, "memory_pressure": 0.0, "io_pressure": 0.0, "throttled_seconds": 0.0, "frequency_hertz": null, "temperature_celsius": null}}, {"lap": 2, "place": 0, "settling_seconds": 0.020007362000001194, "seconds": [0.02000976499994067, 0.02001644499989652], "last_step": 3, "loss": 2.495965003967285, "wall_seconds": 0.040032400000086454, "cpu_seconds": 0.04004092099999998, "ready_seconds": 0.040115049999999985, "looked_seconds": 0.04030794799996329, "late_seconds": 7.241000048452406e-06, "major_faults": 0, "minor_faults": 0, "involuntary_switches": 0, "machine": {"seconds": 0.04159060699998918, "steal_share": 0.0, "others_share": 0.0, "cpu_pressure": 0.00028852668584289, "memory_pressure": 0.0, "io_pressure": 0.0, "throttled_seconds": 0.0, "frequency_hertz": null, "temperature_celsius": null}}], "shape": "too few", "warm_up_steps": 1, "disturbance": "", "first_step_at": 0.09149538299993765}');
INSERT INTO "rounds" VALUES(2,1,2,0,'{"number": 2, "part": 0, "started_at": "2026-11-27T10:29:07+00:00", "cpus": [0], "load_seconds": 0.07496448200004124, "build_seconds": 0.00023607900004662952, "first_step_seconds": 0.020012991000044167, "check": {"error": 2.853878318698663e-07, "where": "dense1.weight after step 1", "share_of_bound": 0.029925083119077694}, "peak_memory_bytes": 38678528, "turns": [{"lap": 0, "place": 0, "settling_seconds": 0.020016626000028737, "seconds": [0.020008533000009265], "last_step": 3, "loss": 2.495965003967285, "wall_seconds": 0.020014662999983557, "cpu_seconds": 0.020022083000000024, "ready_seconds": 0.020100358000000013, "looked_seconds": 0.020299613999895882, "late_seconds": 8.062000006248127e-06, "major_faults": 0, "minor_faults": 0, "involuntary_switches": 0, "machine": {"seconds": 0.021827496000014435, "steal_share": 0.0, "others_share": 0.0, "cpu_pressure": 0.0003665102034507607, "memory_pressure": 0.0, "io_pressure": 0.0, "throttled_seconds": 0.0, "frequency_hertz": null, "temperature_celsius": null}}, {"lap": 1, "place": 0, "settling_seconds": 0.02001214900008108, "seconds": [0.020006170999977257, 0.020012880999956906], "last_step": 3, "loss": 2.495965003967285, "wall_seconds": 0.04002778399990348, "cpu_seconds": 0.04002156200000001, "ready_seconds": 0.040087769999999995, "looked_seconds": 0.04029725199995937, "late_seconds": 4.857000021729618e-06, "major_faults": 0, "minor_faults": 0, "involuntary_switches": 0, "machine": {"seconds": 0.04164632900005927, "steal_share": 0.0, "others_share": 0.0, "cpu_pressure": 0.00026412892238808456, "memory_pressure": 0.0, "io_pressure": 0.0, "throttled_seconds": 0.0, "frequency_hertz": null, "temperature_celsius": null}}, {"lap": 2, "place": 0, "settling_seconds": 0.02001088700001219, "seconds": [0.02000830399992992, 0.02001566499995988], "last_step": 3, "loss": 2.495965003967285, "wall_seconds": 0.040029755999967165, "cpu_seconds": 0.040005877999999995, "ready_seconds": 0.04009457899999999, "looked_seconds": 0.04030913999997665, "late_seconds": 7.570999969175318e-06, "major_faults": 0, "minor_faults": 0, "involuntary_switches": 1, "machine": {"seconds": 0.041657625999960146, "steal_share": 0.0, "others_share": 0.0, "cpu_pressure": 0.0005761250053056073, "memory_pressure": 0.0, "io_pressure": 0.0, "throttled_seconds": 0.0, "frequency_hertz": null, "temperature_celsius": null}}], "shape": "too few", "warm_up_steps": 1, "disturbance": "", "first_step_at": 0.10640206200002922}');
CREATE TABLE runs (
	id INTEGER NOT NULL, 
	started_at VARCHAR NOT NULL, 
	ended_at VARCHAR, 
	protocol INTEGER NOT NULL, 
	"plan" JSON NOT NULL, 
	host JSON NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "runs" VALUES(1,'2026-11-27T10:29:02+00:00','2026-11-27T10:29:08+00:00',4,'{"cells": [{"workload": "fcn-5-tiny", "framework": "null", "variant": "default", "device": "cpu", "threads": 1, "mini_batch": 8, "precision": "float32", "mode": "train"}], "rounds": 2, "budget": 0.0, "pace": {"laps": 3, "most_laps": 41, "seconds": 0.1, "turn_seconds": 0.02}, "seed": 1, "timeout": 600.0, "memory": null, "pythons": {}, "files": []}','{"system": "Linux", "kernel": "6.18.44-fc-v669", "architecture": "x86_64", "processor": "AMD EPYC", "processors": [{"number": 0, "core": [0, 0], "node": 0}, {"number": 1, "core": [0, 1], "node": 0}], "physical_cores": 2, "numa_nodes": 1, "memory_bytes": 25276502016, "governor": null, "hypervisor": true, "affinity": true, "python": "3.11.7", "grade": {"letter": "C", "findings": [{"what": "SMT", "value": "off", "grade": "A", "advice": ""}, {"what": "virtual machine", "value": "yes", "grade": "B", "advice": "measure on the bare machine, or on a virtual one with processors of its own"}, {"what": "other processes", "value": "0.0 % of the processors'' time", "grade": "A", "advice": ""}, {"what": "stolen time", "value": "0.0 % of the processors'' time", "grade": "A", "advice": ""}, {"what": "spin test, interruptions", "value": "6.1 % of the time", "grade": "C", "advice": "interrupts and neighbours: end other work, isolate processors (isolcpus), or use a quieter machine"}, {"what": "spin test, speed", "value": "wanders by 24.1 %", "grade": "C", "advice": "the speed itself changes: fix the frequency, let it cool, or use a quieter machine"}, {"what": "spin test, all at once", "value": "0.0 % slower than alone", "grade": "A", "advice": ""}]}}');
CREATE INDEX ix_calibrations_machine ON calibrations (machine);
CREATE INDEX ix_results_run ON results (run);
CREATE INDEX ix_rounds_result ON rounds (result);
COMMIT;
