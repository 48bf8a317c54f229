"""The functions of torch, and the methods of its Tensors, that are not here: why, and what to use instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from trtnn.errors import nearest


class Kind(NamedTuple):
    """Functions that are not here for one reason.

    Attributes:
        why: the reason.
        instead: what to use.
        names: those of torch, torch.nn.functional and torch.Tensor, without the underscore of what is done in place;
            others with their module's name in front, such as ``linalg.svd``.
    """

    why: str
    instead: str
    names: str


KINDS = (
    Kind(
        "how many it gives depends on the numbers, and a network fixes shapes",
        "where(mask, x, 0) keeps the shape; topk gives a fixed number; or do it outside the engine",
        "argwhere bincount masked_select nonzero nonzero_static segment_reduce unique unique_consecutive histogramdd",
    ),
    Kind(
        "it gives one of Python's truths, and the numbers are known only when the engine runs",
        "isclose or eq, and all, give a Tensor",
        "allclose equal is_nonzero",
    ),
    Kind(
        "an engine draws no random numbers",
        "draw them outside, and give them as an input",
        "bernoulli binomial cauchy exponential geometric log_normal multinomial normal poisson rand rand_like randint"
        " randint_like randn randn_like randperm random uniform gumbel_softmax native_dropout feature_dropout"
        " fractional_max_pool2d fractional_max_pool2d_with_indices fractional_max_pool3d"
        " fractional_max_pool3d_with_indices fork get_rng_state set_rng_state initial_seed manual_seed seed"
        " thread_safe_generator",
    ),
    Kind(
        "a loss, for training",
        "train with torch, and load the state dict",
        "binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy ctc_loss"
        " gaussian_nll_loss hinge_embedding_loss huber_loss kl_div l1_loss linear_cross_entropy margin_ranking_loss"
        " mse_loss multi_margin_loss multilabel_margin_loss multilabel_soft_margin_loss nll_loss poisson_nll_loss"
        " smooth_l1_loss soft_margin_loss triplet_margin_loss triplet_margin_with_distance_loss miopen_ctc_loss",
    ),
    Kind(
        "of gradients, and a network has none",
        "leave it out: nothing is learned in an engine",
        "backward grad grad_dtype grad_fn is_leaf output_nr register_hook register_post_accumulate_grad_hook reinforce"
        " retain_grad retains_grad is_anomaly_check_nan_enabled is_anomaly_enabled is_grad_enabled is_inference"
        " is_inference_mode_enabled set_anomaly_enabled embedding_renorm",
    ),
    Kind(
        "TensorRT has no complex types",
        "view_as_complex, polar and fft.rfft give complex numbers as two Tensors",
        "cdouble cfloat chalf fft.hfft fft.hfft2 fft.hfftn fft.ihfft fft.ihfft2 fft.ihfftn",
    ),
    Kind(
        "it needs a decomposition, and TensorRT has no layer for one",
        "do it outside the engine; F.linalg.inv and det are here up to 4 by 4",
        "cholesky cholesky_inverse cholesky_solve eig geqrf lobpcg logdet lstsq lu lu_solve lu_unpack matrix_exp"
        " matrix_rank nuclear_norm orgqr ormqr pca_lowrank pinverse qr slogdet solve svd svd_lowrank symeig"
        " triangular_solve linalg.cholesky linalg.cholesky_ex linalg.cond linalg.eig linalg.eigh linalg.eigvals"
        " linalg.eigvalsh linalg.householder_product linalg.inv_ex linalg.ldl_factor linalg.ldl_factor_ex"
        " linalg.ldl_solve linalg.lstsq linalg.lu linalg.lu_factor linalg.lu_factor_ex linalg.lu_solve"
        " linalg.matrix_exp linalg.matrix_rank linalg.pinv linalg.qr linalg.slogdet linalg.solve linalg.solve_ex"
        " linalg.svd linalg.svdvals linalg.tensorinv linalg.tensorsolve",
    ),
    Kind(
        "there is no formula of TensorRT's layers for it here",
        "compute it outside the engine, or where the input is known, with NumPy",
        "cov corrcoef digamma erfinv frexp gcd gradient hash_tensor i0 igamma igammac lcm lgamma mvlgamma"
        " nextafter polygamma renorm histogram vander linalg.vander special.airy_ai"
        " special.bessel_j0 special.bessel_j1 special.bessel_y0 special.bessel_y1 special.chebyshev_polynomial_t"
        " special.chebyshev_polynomial_u special.chebyshev_polynomial_v special.chebyshev_polynomial_w"
        " special.digamma special.entr special.erfcx special.erfinv special.gammainc special.gammaincc"
        " special.gammaln special.hermite_polynomial_h special.hermite_polynomial_he special.i0 special.i0e"
        " special.i1 special.i1e special.laguerre_polynomial_l special.legendre_polynomial_p special.log_ndtr"
        " special.modified_bessel_i0 special.modified_bessel_i1 special.modified_bessel_k0"
        " special.modified_bessel_k1 special.multigammaln special.ndtr special.ndtri special.polygamma special.psi"
        " special.scaled_modified_bessel_k0 special.scaled_modified_bessel_k1"
        " special.shifted_chebyshev_polynomial_t special.shifted_chebyshev_polynomial_u"
        " special.shifted_chebyshev_polynomial_v special.shifted_chebyshev_polynomial_w"
        " special.spherical_bessel_j0 special.xlog1py special.zeta",
    ),
    Kind(
        "it is another name of a function in torch itself",
        "the function of that name in trtnn.functional: sigmoid for expit",
        "special.erf special.erfc special.exp2 special.expit special.expm1 special.log1p special.log_softmax"
        " special special.logit special.logsumexp special.round special.sinc special.softmax special.xlogy",
    ),
    Kind(
        "it asks how the elements lie in memory, and in a network they have no fixed place",
        "reshape, permute, narrow and unfold say the same by shapes",
        "as_strided as_strided_copy as_strided_scatter const_data_ptr data_ptr dim_order empty_permuted empty_strided"
        " new_empty_strided is_set_to is_shared map map2 apply resize resize_as resize_as_sparse set share_memory"
        " slice_inverse storage storage_offset storage_type untyped_storage from_file module_load as_subclass is_pinned"
        " pin_memory record_stream is_storage",
    ),
    Kind(
        "TensorRT's sparse tensors are no type of a network's",
        "give dense tensors",
        "ccol_indices coalesce col_indices crow_indices dense_dim dsmm hsmm hspmm indices is_coalesced row_indices"
        " saddmm smm sparse_bsc_tensor sparse_bsr_tensor sparse_compressed_tensor sparse_coo_tensor sparse_csc_tensor"
        " sparse_csr_tensor sparse_dim sparse_mask sparse_resize sparse_resize_and_clear spmm sspaddmm to_dense"
        " to_mkldnn to_padded_tensor to_sparse to_sparse_bsc to_sparse_bsr to_sparse_coo to_sparse_csc to_sparse_csr"
        " values is_sparse_csr",
    ),
    Kind(
        "of torch's own quantisation",
        "build with int8 and a calibration: see trtnn.build.build",
        "choose_qparams_optimized dequantize empty_quantized fbgemm_linear_fp16_weight"
        " fbgemm_linear_fp16_weight_fp32_activation"
        " fbgemm_linear_int8_weight fbgemm_linear_int8_weight_fp32_activation fbgemm_linear_quantize_weight"
        " fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix fused_moving_avg_obs_fake_quant int_repr"
        " q_per_channel_axis q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point qscheme"
        " quantize_per_channel quantize_per_tensor quantize_per_tensor_dynamic quantized_batch_norm quantized_gru"
        " quantized_gru_cell quantized_lstm quantized_lstm_cell quantized_max_pool1d quantized_max_pool2d"
        " quantized_max_pool3d quantized_rnn_relu_cell quantized_rnn_tanh_cell scaled_grouped_mm scaled_mm",
    ),
    Kind(
        "a view is a copy here until one of the two is changed",
        "the function without _copy",
        "alias_copy ccol_indices_copy col_indices_copy crow_indices_copy detach_copy diagonal_copy expand_copy"
        " indices_copy narrow_copy permute_copy row_indices_copy select_copy slice_copy split_copy"
        " split_with_sizes_copy squeeze_copy t_copy transpose_copy unbind_copy unfold_copy unsqueeze_copy values_copy"
        " view_as_complex_copy view_as_real_copy view_copy unsafe_split_with_sizes",
    ),
    Kind(
        "how a library computes something that has a name of its own",
        "that name: conv2d, batch_norm, grid_sample, max_pool2d with return_indices, ...",
        "adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices"
        " affine_grid_generator batch_norm_backward_elemt batch_norm_backward_reduce batch_norm_elemt"
        " batch_norm_gather_stats batch_norm_gather_stats_with_counts batch_norm_stats batch_norm_update_stats"
        " chain_matmul constant_pad_nd conv_tbc convolution cudnn_affine_grid_generator cudnn_batch_norm"
        " cudnn_convolution cudnn_convolution_add_relu cudnn_convolution_relu cudnn_convolution_transpose"
        " cudnn_grid_sampler cudnn_is_acceptable fill frobenius_norm grid_sampler grid_sampler_2d grid_sampler_3d"
        " max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices"
        " miopen_batch_norm miopen_convolution miopen_convolution_add_relu miopen_convolution_relu"
        " miopen_convolution_transpose miopen_depthwise_convolution miopen_rnn mkldnn_adaptive_avg_pool2d"
        " mkldnn_convolution mkldnn_linear_backward_weights mkldnn_max_pool2d mkldnn_max_pool3d mkldnn_rnn_layer"
        " native_batch_norm native_channel_shuffle native_group_norm native_layer_norm native_norm norm_except_dim"
        " range",
    ),
    Kind(
        "it is about torch's process, devices, types or files, and not about a network",
        "nothing in forward; outside it, torch itself",
        "are_deterministic_algorithms_enabled autocast_decrement_nesting autocast_increment_nesting"
        " can_cast clear_autocast_cache compile compiled_with_cxx11_abi from_dlpack frombuffer"
        " get_autocast_cpu_dtype get_autocast_dtype get_autocast_gpu_dtype get_autocast_ipu_dtype"
        " get_autocast_xla_dtype get_default_device get_default_dtype get_deterministic_debug_mode get_device"
        " get_device_module get_file_path get_float32_matmul_precision get_num_interop_threads get_num_threads"
        " import_ir_module import_ir_module_from_buffer init_num_threads is_autocast_cache_enabled"
        " is_autocast_cpu_enabled is_autocast_enabled is_autocast_ipu_enabled is_autocast_xla_enabled"
        " is_deterministic_algorithms_warn_only_enabled is_distributed is_vulkan_available is_warn_always_enabled load"
        " merge_type_from_type_comment parse_ir parse_schema parse_type_comment"
        " prepare_multiprocessing_environment profiler_allow_cudagraph_cupti_lazy_reinit_cuda12 promote_types"
        " result_type save set_autocast_cache_enabled set_autocast_cpu_dtype set_autocast_cpu_enabled"
        " set_autocast_dtype set_autocast_enabled set_autocast_gpu_dtype set_autocast_ipu_dtype"
        " set_autocast_ipu_enabled set_autocast_xla_dtype set_autocast_xla_enabled set_default_device set_default_dtype"
        " set_default_tensor_type set_deterministic_debug_mode set_float32_matmul_precision set_flush_denormal"
        " set_num_interop_threads set_num_threads set_printoptions set_warn_always typename unify_type_list"
        " use_deterministic_algorithms wait classproperty assert_int_or_pair boolean_dispatch handle_torch_function"
        " has_torch_function has_torch_function_unary has_torch_function_variadic to_dlpack Optional"
        " is_cpu is_ipu is_maia is_meta is_mkldnn is_mps is_mtia is_vulkan is_xla is_xpu ipu xpu mtia volatile new"
        " index is_nested is_quantized is_sparse layout is_conj is_neg is_signed is_same_size itemsize"
        " nbytes",
    ),
    Kind(
        "it steers what is traced, and a trace is of Python's own if and for",
        "if and for over what is known while tracing; where over what is not",
        "cond while_loop vmap sym_constrain_range sym_constrain_range_for_size sym_float sym_fresh_size sym_int"
        " sym_ite sym_max sym_min sym_not sym_sqrt sym_sum",
    ),
    Kind(
        "it makes a tensor of memory that others see, and a network's constants are its own",
        "as_tensor",
        "asarray from_numpy",
    ),
    Kind(
        "its result is float64, which TensorRT has not",
        "pow",
        "float_power",
    ),
    Kind("TensorRT has no such element type", "int(), half() or float()", "char short"),
)

MISSING = {name: (kind.why, kind.instead) for kind in KINDS for name in kind.names.split()}


def explain(owner: str, name: str, names: Iterable[str], prefix: str = "") -> str:
    """Return what an AttributeError says of a name that is not here.

    Args:
        owner: what was asked for it.
        names: those that it has.
        prefix: what stands before the name in :data:`MISSING`.
    """
    reason = MISSING.get(prefix + name) or MISSING.get(prefix + name.rstrip("_"))
    why = "; ".join(reason) if reason and not name.startswith("_") else ", ".join(nearest(name, names))
    return f"{owner} has no {name}" + (f": {why}" if why else "")
