"""The catalogue of bad input: for each row the tests that show what becomes of it. `test_catalogue.py` checks that they are there.

A row is a letter (A: Python interface, C: command line and configuration, D: data stores, K: commits and models, W: cluster,
E: environment) and a number. A test is named as a file below tests/ and a function; "bad_input/test_api A01" stands for every function
of that file whose name begins with test_A01.
"""

ROWS = {"A": 40, "C": 24, "D": 36, "K": 21, "W": 16, "E": 10}

# Every one of these rows has tests of its own in one file, named after it.
NAMED = {
    "bad_input/test_api": ("A", [*range(1, 32), *range(33, 40)]),
    "bad_input/test_cli": ("C", range(1, 25)),
    "bad_input/test_stores": ("D", [*range(8, 17), *range(21, 29), 33]),
    "bad_input/test_columns": ("D", [17, 18, 19, 20, 34, 35, 36]),
    "bad_input/test_model_files": ("K", [*range(1, 9), 10, 12, 15, 16, 20]),
}

ELSEWHERE = {
    "A31": [
        "bad_input/test_api::test_A33_is_asked_before_anything_is_read",
        "sources/test_dask::test_chunks_along_the_columns_are_merged_with_a_warning",
    ],
    "A32": [
        "bad_input/test_surroundings::test_A32_a_graph_that_is_not_pure_is_found_at_its_second_reading",
        "test_same_rows::test_a_graph_that_is_not_pure_is_found",
    ],
    "A37": [
        "kernels/test_e_step::test_a_far_outlier_is_finite_and_alone",
        "test_fit::test_a_row_of_density_zero_is_refused_in_plain_words",
    ],
    "A38": ["bad_input/test_surroundings::test_A38_the_warning_may_be_made_an_error"],
    "A40": ["bad_input/test_surroundings::test_A40_an_observer_that_raises"],
    "C21": ["bad_input/test_cli::test_c21_a_path_that_is_too_long"],
    "D1": [
        "sources/test_zarr::test_a_store_that_is_not_there_is_said_with_its_neighbours",
        "security/test_secrets::test_s11_errors_of_the_command_line",
    ],
    "D2": [
        "sources/test_zarr::test_a_group_without_columns_lists_what_is_inside",
        "sources/test_zarr::test_a_group_or_a_table_is_no_column",
    ],
    "D3": ["sources/test_zarr::test_an_unknown_or_repeated_column_is_said"],
    "D4": ["sources/test_zarr::test_columns_of_different_length_are_refused"],
    "D5": ["sources/test_zarr::test_damaged_metadata_is_said_with_its_file", "sources/test_zarr::test_two_formats_at_once_are_refused"],
    "D6": [
        "sources/test_zarr::test_a_codec_beyond_the_list_is_refused_before_it_is_looked_up",
        "sources/test_zarr::test_a_filter_of_format_2_beyond_the_list_is_refused",
        "security/test_hostile::test_s1_s2_s4_hostile_files_run_nothing_and_write_nowhere",
        "security/test_hostile::test_the_files_are_found_out_without_the_list_of_codecs",
    ],
    "D7": ["sources/test_zarr::test_text_columns_are_passed_over_or_refused_by_name"],
    "D10": ["reliability/test_stores::test_damaged_stores_are_detected_as_far_as_anybody_can"],
    "D11": ["test_same_rows::test_a_store_that_is_written_to_during_a_fit_is_found"],
    "D14": ["reliability/test_stores::test_without_the_header_s_check_a_bomb_is_decoded"],
    "D20": ["initialisers/test_sample::test_no_row_that_takes_part_is_refused"],
    "D23": ["test_same_rows::test_rows_changed_in_the_middle_of_the_table_are_found_on_resume"],
    "D29": ["sources/test_locations::test_other_addresses_are_refused", "security/test_hostile::test_s5_hostile_addresses_reach_nobody"],
    "D30": [
        "sources/test_locations::test_hosts_of_this_machine_and_network_are_refused",
        "sources/test_locations::test_a_name_that_resolves_to_this_machine_is_refused",
        "security/test_hostile::test_the_addresses_are_let_through_without_the_class_of_hosts",
    ],
    "D31": [
        "sources/test_locations::test_names_that_lead_out_are_refused",
        "sources/test_zarr::test_column_names_that_lead_out_of_the_store_are_refused",
        "sources/test_zarr::test_a_column_that_is_a_link_out_of_the_store_is_refused",
    ],
    "D32": [
        "sources/test_zarr::test_names_that_differ_only_in_case_are_refused",
        "sources/test_parquet::test_names_that_differ_only_in_case_are_refused",
    ],
    "D36": ["sources/test_dask::test_empty_chunks_do_no_harm", "executors/test_same_bits::test_one_hash_for_executors_and_layouts"],
    "K9": [
        "test_verification::test_k9_two_histories_of_one_run_are_refused_with_both_parents",
        "test_verification::test_k9_a_commit_of_another_run_is_named_and_stepped_over",
        "test_verification::test_k9_a_gap_is_said_and_the_newest_is_used",
    ],
    "K10": ["storage/test_local_folder::test_k10_a_run_that_comes_from_another_host_says_so"],
    "K11": ["storage/test_local_folder::test_k11_a_run_folder_that_cannot_be_written_is_refused_before_any_work"],
    "K13": [
        "bad_input/test_surroundings::test_K13_another_machine_at_a_resume_is_told",
        "bad_input/test_surroundings::test_K13_strict_refuses_it",
    ],
    "K14": [
        "test_passes::test_a_part_of_a_pass_beyond_the_end_of_the_table_is_refused",
        "test_passes::test_a_record_that_does_not_describe_its_spans_is_refused",
    ],
    "K17": [
        "storage/test_local_folder::test_k17_the_last_save_fits_on_a_disk_that_others_filled",
        "storage/test_local_folder::test_k17_e10_an_error_while_saving_names_path_and_errno",
        "test_passes::test_a_full_disk_is_told_and_tried_again_until_too_much_would_be_lost",
    ],
    "K18": ["storage/test_local_folder::test_k18_a_file_system_without_links_is_refused_at_the_start_with_a_remedy"],
    "K19": ["storage/test_local_folder::test_k19_without_locks_a_warning_and_the_exclusive_create_guards"],
    "W1": [
        "executors/test_dask_distributed::test_a_closed_address_is_refused_by_name",
        "executors/test_watch::test_a_client_that_does_not_answer_at_all_is_refused",
    ],
    "W2": [
        "bad_input/test_cli::test_w2_a_cluster_without_encryption_elsewhere_is_code_11",
        "executors/test_dask_distributed::test_an_open_address_of_another_machine_is_refused_before_anything_is_sent",
    ],
    "W3": [
        "deploy/test_tls::test_s8_w3_a_certificate_of_another_authority_is_refused",
        "deploy/test_tls::test_s7_w3_no_certificate_is_refused",
        "deploy/test_tls::test_w3_missing_wrong_and_open_files_are_named",
    ],
    "W4": [
        "executors/test_dask_distributed::test_no_workers_is_an_error_after_the_timeout",
        "executors/test_watch::test_no_workers_is_an_error_after_the_timeout",
    ],
    "W5": [
        "executors/test_worker_checks::test_w5_other_versions_are_a_table",
        "executors/test_worker_checks::test_w5_a_fit_on_such_a_cluster_is_refused_before_it_begins",
    ],
    "W6": [
        "executors/test_worker_checks::test_w6_another_processor_is_refused_in_strict_mode",
        "executors/test_refusals::test_an_odd_worker_is_told_once_otherwise",
    ],
    "W7": ["reliability/test_cluster::test_fits_under_kills_give_one_hash", "executors/test_watch::test_workers_that_go_and_come_are_told"],
    "W8": [
        "reliability/test_cluster::test_a_poison_block_is_named_and_the_cluster_lives_on",
        "executors/test_dask_distributed::test_blocks_that_kill_their_workers_are_named",
    ],
    "W9": ["reliability/test_cluster::test_when_all_workers_die_and_stay_away_the_last_ones_are_named"],
    "W10": [
        "reliability/test_cluster::test_a_lost_scheduler_is_noticed_and_a_new_one_leads_to_the_same_hash",
        "executors/test_watch::test_a_silent_scheduler_is_lost",
    ],
    "W11": [
        "executors/test_refusals::test_an_unsound_result_is_computed_again_by_another_worker",
        "executors/test_refusals::test_two_unsound_results_that_differ_end_the_fit",
    ],
    "W12": [
        "reliability/test_schedules::test_one_hash_under_all_schedules",
        "reliability/test_schedules::test_the_same_blocks_with_other_bits_end_the_fit",
    ],
    "W13": [
        "executors/test_worker_checks::test_w13_blind_workers_are_named_without_secrets",
        "executors/test_worker_checks::test_w13_is_a_cluster_error",
    ],
    "W14": ["bad_input/test_clocks::test_W14_clocks_of_workers_do_not_matter"],
    "W15": ["executors/test_refusals::test_blocks_beyond_the_memory_of_a_worker_are_refused_before_the_start"],
    "W16": [
        "executors/test_refusals::test_an_asynchronous_client_is_refused",
        "executors/test_refusals::test_an_executor_is_refused_in_a_fork",
        "executors/test_refusals::test_tasks_that_lead_passes_do_not_wait_for_their_own_places",
    ],
    "E1": ["test_registry::test_a_missing_library_is_named", "sources/test_as_source::test_a_missing_library_is_named"],
    "E2": [
        "bad_input/test_surroundings::test_E2_a_library_that_runs_code_of_stores_is_refused",
        "bad_input/test_surroundings::test_E2_libraries_are_not_older_than_those_tested",
    ],
    "E3": [
        "bad_input/test_surroundings::test_E3_no_home_and_no_temporary_folder",
        "bad_input/test_surroundings::test_E3_a_run_folder_that_cannot_be_made",
    ],
    "E8": [
        "bad_input/test_surroundings::test_E8_a_thousand_events_a_second_make_no_endless_log",
        "observers/test_json_lines::test_lines_that_cannot_be_written_are_counted_and_end_nothing",
    ],
    "E9": [
        "storage/test_local_folder::test_e9_no_more_open_files_says_the_limit",
        "bad_input/test_surroundings::test_E9_no_more_threads",
        "bad_input/test_surroundings::test_E9_sixty_four_open_files_are_enough_or_said",
    ],
    "E10": [
        "storage/test_local_folder::test_e10_a_file_size_limit_is_as_a_full_disk",
        "bad_input/test_surroundings::test_E10_files_may_not_grow",
        "bad_input/test_cli::test_c19_stdout_closed_early",
    ],
}

# Rows about what this release does not have.
DOES_NOT_APPLY = {
    "E4": "no image is shipped; as root, `doctor` says that a fit does not need it",
    "E5": "no status page is served over HTTP",
    "E6": "no status page is served over HTTP",
    "E7": "no status page is served over HTTP; that nothing else listens off loopback is threat row S9",
    "K21": "models and commits are not signed: hashes find damage, not forgery, and what is read runs no code (threat row S1)",
}

# Where the package does something else than was first laid down for the row, and why.
OTHERWISE = {
    "A20": "found in the sample of rows before the first pass",
    "A22": "there is no switch that lets integers be rounded: subtract an offset, or leave the column out",
    "A30": "accepted: every chunk is a partition; only weights in one array are refused, with compute_chunk_sizes()",
    "A31": "re-chunked blocks past the memory bound are a ConfigError, as any other blocks (A33)",
    "A37": "such a row is not counted as an outlier; where all densities are zero the fit ends and says so",
    "A38": "Python's filter for PrecisionWarning is the switch",
    "C24": "no option takes a size",
    "D18": "there is no list of sentinels to give: one that stands apart is told, whatever it is",
    "D19": "missing='skip' allows any share, which is counted and told; there is no max_skipped_fraction",
    "D22": "rows that were appended need a new run: there is no flag to accept them yet",
    "D23": "rows re-ordered at an end of the table are told by the hash of its ends; between them by the block",
    "D34": "ignored, with a warning",
    "K9": "no flag chooses between two histories: one of the two files is moved away",
    "E2": "pip keeps versions below the tested ones out; doctor refuses numcodecs below the safe one",
    "E9": "threads of this process that cannot start are a ClusterError",
}
